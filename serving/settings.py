"""Settings that every tier has. Each program's own are in its room."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from protocol.limits import MAX_BUNDLES_IN_HELLO, MAX_CREDITS, MAX_NAME_LENGTH
from runtime.trust import TrustSettings
from serving.loops import EventLoop
from serving.oip.settings import OipSettings
from transport.settings import Broker, Listen, Quotas
from transport.tracing import TraceSettings


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class EngineSettings(_Table):
    """`[engine]`: what runs the segments."""

    name: str = "onnxruntime"
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    """Threads of one run. More than one escapes `emulated_slowdown`."""


class OperationsSettings(Listen):
    """`[operations]`: a door for health checks, figures and the scheduler's explanation of itself.

    Beyond loopback it needs TLS and an authority of those who look. The ready line tells the port.
    """

    readers: tuple[str, ...] = ()
    """Names in the certificates of those who may look; without any, everyone whom the authority has certified."""


class StateSettings(_Table):
    """`[state]`: what is kept for streams, of bundles whose segments keep state (key-value caches, for example)."""

    most_bytes: Annotated[int, Field(ge=1 << 16)] = 256 << 20
    """Of all streams together; those unused for longest are dropped, and their senders send them again."""
    idle_s: Annotated[float, Field(gt=0, le=86400)] = 300.0
    """A stream is dropped after so long without a frame."""


class TierSettings(_Table):
    """What an edge and a cloud have in common."""

    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH)]
    """Told to the tier above, for its logs."""
    listen: Listen
    broker: Broker | None = None
    """Serve frames that come over an MQTT broker too."""
    listen_datagrams: Listen | None = None
    """Experimental: serve frames that come in QUIC datagrams (UDP) too; needs the extra `quic`."""
    bundles: Annotated[tuple[Path, ...], Field(min_length=1, max_length=MAX_BUNDLES_IN_HELLO)]
    engine: EngineSettings = EngineSettings()
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """Batches worked on at the same time."""
    queue: Annotated[int, Field(ge=1, le=65536)] = 256
    """Frames that may be here and unanswered: a bound on memory. What cannot be in time is refused long before."""
    weights: dict[str, Annotated[float, Field(gt=0, le=1e6)]] = {}
    """Shares of callers by name when there is not enough for all; any other has 1."""
    credits: Annotated[int, Field(ge=1, le=MAX_CREDITS)] = 32
    """Frames that one stream may have unanswered."""
    streams: Annotated[int, Field(ge=1, le=65536)] = 4096
    """Callers at the same time; more are turned away. An idle one costs some tens of kilobytes."""
    state: StateSettings = StateSettings()
    trust: TrustSettings = TrustSettings()
    quotas: Quotas = Quotas()
    """What each certified caller may have."""
    emulated_slowdown: Annotated[float, Field(ge=1, le=1000)] = 1.0
    """How many times slower than this machine the tier is; the difference is really waited."""
    operations: OperationsSettings | None = None
    """Without it there is no such port."""
    oip: OipSettings = OipSettings()
    """Where whole models are served by the Open Inference Protocol; nowhere, unless it says where."""
    traces: TraceSettings | None = None
    """Without it no spans are told, and frames carry their traces on as they came."""
    event_loop: EventLoop = "asyncio"
    """`uvloop`, where it is installed, takes less time for each message; it pays where frames are many and short."""
    json_logs: bool = False
    """Log lines as JSON objects, with the trace ids of frames."""
    drain_s: Annotated[float, Field(ge=0, le=600)] = 5.0
    """On a signal to end: time for the frames that are here."""
