"""Settings of the edge: one TOML file plus overrides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from runtime.settings import load_settings
from serving.settings import TierSettings
from transport.settings import Dial, Listen


class RelaySettings(BaseModel):
    """`[relay]`: this edge picks the cut and level of what it hands over, or finishes it, whichever is quicker."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    accuracy_loss: Annotated[float, Field(ge=0, le=1)] = 0.0
    """How much of a frame's accuracy, by the bundle's own measurement, may be given up for it."""


class Settings(TierSettings):
    """All settings of the program."""

    name: str = "edge"
    listen: Listen = Listen(port=7201)
    cloud: Dial | None = None
    """The tier above; without one, this edge finishes every frame."""
    clouds: Annotated[tuple[Dial, ...], Field(max_length=16)] = ()
    """Several of them, instead of `cloud`: the one that should answer first is asked, others where it fails."""
    relay: RelaySettings | None = None
    """Without it, frames are handed over where and how they ask for it."""

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
