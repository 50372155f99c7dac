"""Settings of the device agent: one TOML file plus overrides. See docs/device.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from adaptation.errors import AdaptationError
from adaptation.policies import Policy, policy_named
from device.engines.settings import EngineSettings
from device.filter.settings import FilterSettings
from device.sinks.settings import SinkSettings
from device.sources.settings import SourceSettings
from device.stillness import StillSettings
from device.table import Table
from device.updates.settings import UpdateSettings
from runtime.settings import load_settings
from runtime.trust import TrustSettings
from transport.address import is_loopback
from transport.settings import Broker, Dial, Port, Tls
from transport.tracing import TraceSettings

Index = Annotated[int, Field(ge=0, le=255)]


class EdgeSettings(Dial):
    """`[edge]`: the tier nearby."""

    passes_on: bool = False
    """Whether it has a cloud of its own above it, so that frames may be sent through it."""


class PolicySettings(Table):
    """`[policy]`: how the choice is made for each frame.

    `cut`, `level`, `route` and `handover` belong to "fixed", the rest to "deadline" and what is built on it (see
    `adaptation.goal.Goal` and `adaptation.hedging.Hedging`).
    """

    name: Literal[
        "content", "contention", "deadline", "empirical", "ewma", "fixed", "harmonic", "linucb", "neurosurgeon", "spinn"
    ] = "deadline"
    cut: Index | None = None
    level: Index | None = None
    route: Literal["device", "edge", "cloud", "edge_to_cloud"] | None = None
    handover: tuple[Index, Index] | None = None
    latency_weight: float | None = None
    margin: float | None = None
    enough: float | None = None
    hopeless: float | None = None
    device_jitter_s: float | None = None
    device_weight: float | None = None
    settle_s: float | None = None
    stay: float | None = None
    accuracy_weight: float | None = None
    link_weight: float | None = None
    energy_weight: float | None = None
    curiosity: float | None = None
    hedge: bool | None = None
    """Whether the device goes on locally where an answer has become unlikely; "deadline" and "contention" do
    unless told not to."""
    price: float | None = None
    crowding: float | None = None
    guard_s: float | None = None
    trust: float | None = None
    useless: float | None = None
    threshold: float | None = None
    """For "spinn": the least confidence with which an exit's answer is final."""
    safety: float | None = None
    believed: float | None = None
    """For "content": the share of frames believed to be easy before any was seen."""
    frames: float | None = None
    last: int | None = None
    """For "contention": so many frames have to agree that the device is slower, or faster, than planned."""
    tells: float | None = None

    def build(self) -> Policy:
        """The policy with the parameters that were set.

        Raises:
            AdaptationError: a parameter is missing, misplaced or out of range; `Settings` has checked that already.
        """
        given = self.model_dump(exclude={"name"}, exclude_none=True)
        usual = {"hedge": True} if self.name in ("deadline", "contention") else {}
        return policy_named(self.name, usual | given)

    @model_validator(mode="after")
    def _buildable(self) -> Self:
        try:
            self.build()
        except AdaptationError as exc:
            raise ValueError(str(exc)) from exc
        return self


class PrivacySettings(Table):
    """`[privacy]`: what levels may give away; see docs/compression.md.

    `most_leaked_db` leaves out of the plan whatever lets an attacker paint the input any better, in PSNR as
    `isthmus evaluate --leakage --record` has written it into the bundle, and whatever nobody attacked.
    """

    most_leaked_db: Annotated[float, Field(ge=0)] | None = None


class HistorySettings(Table):
    """`[history]`: where the line of each frame goes; without a path, nowhere."""

    path: Path | None = None


class SpoolSettings(Table):
    """`[spool]`: frames that may be late, kept on disk; without a path, none are."""

    path: Path
    max_bytes: Annotated[int, Field(ge=1 << 16)] = 256 << 20
    max_age_s: Annotated[float, Field(gt=0)] = 86_400.0
    keep: Literal["unreachable", "unanswered"] = "unreachable"
    """Which frames without an answer are kept: those of times when no tier is reachable, or all."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Of the time that answering them may take while live frames come."""
    allowed_s: Annotated[float, Field(gt=0, le=3600)] = 30.0
    """For one of them, from being taken out to its answer."""
    alone: bool = True
    """Whether the device answers them by itself while no tier is reachable."""


class StatusSettings(Table):
    """`[status]`: health, metrics and the last frames over HTTP; without a table, none.

    Beyond this machine only over TLS, to those who show a certificate of its `client_ca`.
    """

    host: str = "127.0.0.1"
    port: Port = 0
    tls: Tls | None = None
    readers: tuple[str, ...] = ()
    """Names in the certificates of those who may look; without any, everyone whom the authority has certified."""
    frames: Annotated[int, Field(ge=16, le=100_000)] = 1024
    """The last frames whose history can be asked for."""

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if self.tls is None and not is_loopback(self.host):
            raise ValueError(
                f"status.host = {self.host!r} is not this machine, and there is no TLS; set it to 127.0.0.1, or add "
                "[status.tls] with certificate, key and client_ca"
            )
        return self


class NoticesSettings(Broker):
    """`[notices]`: a broker where controllers see this device, give it plans and have it do things."""

    tell_s: Annotated[float, Field(gt=0, le=3600)] = 10.0
    """Between two telemetry messages."""


class LogSettings(Table):
    """`[log]`: to standard error."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(Table):
    """All settings of the program."""

    name: Annotated[str, Field(min_length=1, max_length=64)] = "device"
    bundle: Path
    deadline_s: Annotated[float, Field(gt=0, le=60)] = 0.25
    bytes_per_month: Annotated[float, Field(ge=1e6)] | None = None
    """What a data plan allows on the uplink, frames and probes together, accruing evenly over 30 days; without it,
    no limit."""
    emulated_slowdown: Annotated[float, Field(ge=1, le=1000)] = 1.0
    """How many times slower than this machine the device is; the difference is really waited."""
    measure_s: Annotated[float, Field(gt=0, le=60)] = 2.0
    """Time spent at the start on measuring the parts of the model."""
    source: SourceSettings
    edge: EdgeSettings | None = None
    cloud: Dial | None = None
    trust: TrustSettings = TrustSettings()
    policy: PolicySettings = PolicySettings()
    privacy: PrivacySettings = PrivacySettings()
    history: HistorySettings = HistorySettings()
    sinks: tuple[SinkSettings, ...] = ()
    spool: SpoolSettings | None = None
    status: StatusSettings | None = None
    still: StillSettings | None = None
    filter: FilterSettings | None = None
    updates: UpdateSettings | None = None
    notices: NoticesSettings | None = None
    traces: TraceSettings | None = None
    log: LogSettings = LogSettings()
    engine: EngineSettings = EngineSettings()

    @model_validator(mode="after")
    def _promises_can_be_kept(self) -> Self:
        if self.source.durable and self.spool is None:
            raise ValueError("source.durable = true needs a place on disk; add [spool] path")
        return self


def load(path: Path | None, overrides: Mapping[str, object] | None = None) -> Settings:
    """Read the file and apply the overrides (dotted keys).

    Raises:
        SettingsError: a key or value is wrong; the sentence names it and the fix.
    """
    return load_settings(Settings, path, overrides or {})


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the configuration file, for editors; `device/device.schema.json` is this."""
    schema = Settings.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "isthmus device"}
