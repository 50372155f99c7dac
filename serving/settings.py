"""Settings that every tier has. Each program's own are in its room."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from protocol.limits import MAX_BUNDLES_IN_HELLO, MAX_CREDITS, MAX_NAME_LENGTH
from runtime.trust import TrustSettings
from transport.settings import Listen, Quotas


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class EngineSettings(_Table):
    """`[engine]`: what runs the segments."""

    name: str = "onnxruntime"
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    """Threads of one run. More than one escapes `emulated_slowdown`."""


class TierSettings(_Table):
    """What an edge and a cloud have in common."""

    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH)]
    """Told to the tier above, for its logs."""
    listen: Listen
    bundles: Annotated[tuple[Path, ...], Field(min_length=1, max_length=MAX_BUNDLES_IN_HELLO)]
    engine: EngineSettings = EngineSettings()
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """Frames worked on at the same time."""
    queue: Annotated[int, Field(ge=1, le=65536)] = 64
    """Frames that may wait for a worker; more are refused as overload."""
    credits: Annotated[int, Field(ge=1, le=MAX_CREDITS)] = 32
    """Frames that one stream may have unanswered."""
    trust: TrustSettings = TrustSettings()
    quotas: Quotas = Quotas()
    """What each certified caller may have."""
    emulated_slowdown: Annotated[float, Field(ge=1, le=1000)] = 1.0
    """How many times slower than this machine the tier is; the difference is really waited."""
    drain_s: Annotated[float, Field(ge=0, le=600)] = 5.0
    """On a signal to end: time for the frames that are here."""
