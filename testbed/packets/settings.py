"""Settings of a link of packets: one TOML file. See docs/testbed.md."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from testbed.packets.conditions import AnyCondition


def _ordered(conditions: tuple[AnyCondition, ...]) -> tuple[AnyCondition, ...]:
    disordered = ""
    for condition in conditions:
        if condition.needs_order and disordered:
            raise ValueError(
                f"{condition.kind} stands behind {disordered}, which lets packets overtake one another; put it before"
            )
        if condition.disorders:
            disordered = condition.kind
    return conditions


Conditions = Annotated[tuple[AnyCondition, ...], Field(max_length=16), AfterValidator(_ordered)]


class Settings(BaseModel):
    """`[[uplink]]` and `[[downlink]]` tables, each a condition; packets meet them in this order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uplink: Conditions = ()
    """From the near side to the far one."""
    downlink: Conditions = ()
    seed: int = 0
    mtu_bytes: Annotated[int, Field(ge=1280, le=9000)] = 1500
