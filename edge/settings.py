"""Settings of the edge: one TOML file plus overrides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from runtime.settings import load_settings
from serving.relaying.relay import Relay
from serving.relaying.upstreams import Upstreams
from serving.relaying.utility import UtilityRelay
from serving.relaying.worth import Worth
from serving.settings import TierSettings
from serving.workers import Workers
from transport.settings import Dial, Listen


class RelaySettings(BaseModel):
    """`[relay]`: this edge chooses what it answers, what goes up and how, and what it sheds."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    goal: Literal["latency", "utility"] = "latency"
    """Of the choice: the soonest answer to each frame, or the most that all answers together are worth."""
    accuracy_loss: Annotated[float, Field(ge=0, le=1)] = 0.0
    """For the soonest answer: how much of a frame's accuracy, by the bundle's own measurement, may be given up."""
    worth: dict[str, Worth] = {}
    """For the most worth: of frames, by the model id of their bundle."""

    def build(self, upstreams: Upstreams, workers: Workers, clock: Callable[[], float]) -> Relay:
        """What chooses; see `serving.relaying`."""
        if self.goal == "utility":
            return UtilityRelay(upstreams, workers, clock, worth=self.worth)
        return Relay(upstreams, workers, clock, accuracy_loss=self.accuracy_loss)

    @model_validator(mode="after")
    def _figures_of_the_goal(self) -> Self:
        if self.worth and self.goal != "utility":
            raise ValueError('worth is weighed with goal = "utility" only; set that, or remove worth')
        if self.accuracy_loss and self.goal != "latency":
            raise ValueError('accuracy_loss is for goal = "latency"; frames go up as they came for "utility"')
        return self


class Settings(TierSettings):
    """All settings of the program."""

    name: str = "edge"
    listen: Listen = Listen(port=7201)
    cloud: Dial | None = None
    """The tier above; without one, this edge finishes every frame."""
    clouds: Annotated[tuple[Dial, ...], Field(max_length=16)] = ()
    """Several of them, instead of `cloud`: the one that should answer first is asked, others where it fails."""
    relay: RelaySettings | None = None
    """Without it, frames are handed over where and how they ask for it, and refused where there is no time."""

    @property
    def above(self) -> tuple[Dial, ...]:
        """All tiers above."""
        return self.clouds if self.cloud is None else (self.cloud,)

    @model_validator(mode="after")
    def _one_or_several(self) -> Self:
        if self.cloud is not None and self.clouds:
            raise ValueError("cloud and clouds are both given; write every tier above under [[clouds]]")
        return self


def load(path: Path | None, overrides: Mapping[str, object] | None = None) -> Settings:
    """Read the file and apply the overrides (dotted keys).

    Raises:
        SettingsError: a key or value is wrong; the sentence names it and the fix.
    """
    return load_settings(Settings, path, overrides or {})
