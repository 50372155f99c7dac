"""When and where a condition holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Delaying = Callable[[float], float]
"""From seconds since the start to seconds since the start; infinite is never."""


class During(BaseModel):
    """Keys that all conditions share. Times are seconds since the link started."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    direction: Literal["both", "up", "down"] = "both"
    forward: str | None = None
    """Only what goes to and comes from this target; None is all of the link."""
    from_s: Annotated[float, Field(ge=0)] = 0.0
    to_s: Annotated[float, Field(gt=0)] | None = None
    """None is for good."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.to_s is not None and self.to_s <= self.from_s:
            raise ValueError(f"to_s = {self.to_s:g} does not come after from_s = {self.from_s:g}")
        return self

    def concerns(self, direction: str, forward: str) -> bool:
        """Whether it acts on this direction ("up" or "down") of this forward."""
        return self.direction in ("both", direction) and self.forward in (None, forward)

    def holds(self, at_s: float) -> bool:
        """Whether it acts at this time."""
        return at_s >= self.from_s and (self.to_s is None or at_s < self.to_s)

    def delaying(self) -> Delaying:
        """A fresh function from the time at which bytes would arrive to when they do: not before it, perhaps never."""
        return _at_once

    def resets_s(self) -> Iterator[float]:
        """Times at which the connections it concerns are broken, ascending."""
        return iter(())


def _at_once(at_s: float) -> float:
    return at_s
