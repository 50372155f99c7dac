"""Settings of the link emulator: one TOML file plus overrides. See docs/testbed.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from runtime.settings import load_settings
from testbed.link.capacity import Capacity, Steps, Unlimited, constant
from testbed.link.conditions import Condition
from testbed.link.traces import read_trace
from transport.address import Address, Target

Seconds = Annotated[float, Field(ge=0, le=10)]
RateBps = Annotated[float, Field(ge=0, le=1e10)]
"""Bits per second; 0 is a dead link."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DirectionSettings(_Table):
    """`[uplink]` and `[downlink]`: what a direction carries, its delay, and the queue in front of it."""

    kind: Literal["rate", "steps", "trace", "unlimited"]
    rate_bps: Annotated[float, Field(gt=0, le=1e10)] | None = None
    """For `rate`: bits per second, constant."""
    steps: tuple[tuple[Annotated[float, Field(gt=0)], RateBps], ...] = ()
    """For `steps`: (seconds, bits per second); the last rate lasts for ever."""
    path: Path | None = None
    """For `trace`: a file in Mahimahi's packet-delivery format."""
    from_s: Annotated[float, Field(ge=0)] = 0.0
    to_s: Annotated[float, Field(gt=0)] | None = None
    delay_s: Seconds = 0.0
    """Propagation, one way."""
    queue_bytes: Annotated[int, Field(ge=3000, le=1 << 26)] = 65536
    """Bound on what waits in front of the bottleneck, socket buffers included."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        needed = {"rate": "rate_bps", "steps": "steps", "trace": "path", "unlimited": "kind"}[self.kind]
        if not getattr(self, needed):
            raise ValueError(f"kind = {self.kind!r} also needs {needed}")
        return self

    def capacity(self) -> Capacity:
        """A fresh capacity with nothing booked.

        Raises:
            TraceError: the trace cannot be read.
        """
        if self.kind == "trace" and self.path is not None:
            return read_trace(self.path, from_s=self.from_s, to_s=self.to_s)
        if self.kind == "steps":
            return Steps(self.steps)
        if self.kind == "rate" and self.rate_bps is not None:
            return constant(self.rate_bps)
        return Unlimited()


class ForwardSettings(_Table):
    """`[[forward]]`: a port that leads through the link to a target."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    target: Target
    """host:port"""
    listen_host: Annotated[str, Field(pattern=r"^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$")] = "127.0.0.1"
    """An address of this machine that nobody else reaches."""
    listen_port: Annotated[int, Field(ge=0, le=65535)] = 0
    """0 lets the system choose."""
    extra_delay_s: Seconds = 0.0
    """One way, beyond the link: how much farther this target is."""

    @property
    def address(self) -> Address:
        """The target, taken apart."""
        return Address.read(self.target)


class RecordSettings(_Table):
    """`[record]`: where the link writes what it really was; without a path, nowhere."""

    path: Path | None = None


class Settings(_Table):
    """All settings of the emulator: one radio link, shared by its forwards."""

    uplink: DirectionSettings
    """From those who connect to the targets."""
    downlink: DirectionSettings
    forward: Annotated[tuple[ForwardSettings, ...], Field(min_length=1, max_length=16)]
    condition: tuple[Condition, ...] = ()
    """What befalls the streams besides; see `testbed.link.conditions`."""
    record: RecordSettings = RecordSettings()


def load(path: Path | None, overrides: Mapping[str, object] | None = None) -> Settings:
    """Read the file and apply the overrides (dotted keys).

    Raises:
        SettingsError: a key or value is wrong; the sentence names it and the fix.
    """
    return load_settings(Settings, path, overrides or {})
