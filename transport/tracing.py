"""What becomes of one frame, told as spans that join to one trace over device, edge and cloud.

The trace travels in the frame (`Frame.trace`: a W3C trace id and the id of the span above). Who meets a frame that has
none may begin one, for a share of them; who meets one that has goes on with it. `transport.otel` gives the spans to a
collector; here is what everybody sees of it, and the tracer that tells nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Annotated, Final, Protocol, Self, TypeAlias
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from transport.address import is_loopback
from transport.errors import ExtraMissing
from transport.settings import CallerTls

Facts: TypeAlias = Mapping[str, str | int | float | bool]


class TraceSettings(BaseModel):
    """`[traces]`: spans of frames to a collector, by OpenTelemetry's protocol over HTTP; needs the extra `otel`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    endpoint: str = "http://127.0.0.1:4318/v1/traces"
    """URL that takes the spans: of this machine, or https."""
    tls: CallerTls | None = None
    """Whom to trust, and what to show, where a public authority's word is not enough."""
    share: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Of the frames that come without a trace: for so many one begins here. Those that have one are always told."""

    @model_validator(mode="after")
    def _safe(self) -> Self:
        url = urlsplit(self.endpoint)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError(f"traces.endpoint is a URL as http://127.0.0.1:4318/v1/traces, not {self.endpoint!r}")
        if url.scheme == "http" and not is_loopback(url.hostname):
            raise ValueError("traces.endpoint leaves this machine unencrypted; write https://, or use a collector here")
        return self


class Span(Protocol):
    """One program's part of a frame's way."""

    @property
    def trace(self) -> bytes:
        """For `Frame.trace` on the way on: 24 bytes, or none where nobody follows the frame."""
        ...

    def end(self, facts: Callable[[], Facts], /) -> None:
        """It is over; `facts` is called only where somebody wants to know."""
        ...


class Tracer(Protocol):
    """Begins spans."""

    def begin(self, name: str, trace: bytes, began_s: float, /) -> Span:
        """A program has met a frame.

        Args:
            name: of the span; a few words, the same for all frames.
            trace: the frame's; empty where it has none.
            began_s: when, on the tracer's clock.
        """
        ...

    def close(self) -> None:
        """Give out what was kept back; blocks, for a few seconds at most."""
        ...


class Untold:
    """The span of a frame that this program tells nothing of; its trace goes on as it came."""

    __slots__ = ("trace",)

    def __init__(self, trace: bytes = b"") -> None:
        self.trace = trace

    def end(self, facts: Callable[[], Facts], /) -> None:
        """Nothing."""


NOBODY: Final = Untold()


class Silent:
    """Tells nothing of any frame."""

    def begin(self, name: str, trace: bytes, began_s: float, /) -> Span:
        """Nothing begins."""
        return Untold(trace) if trace else NOBODY

    def close(self) -> None:
        """Nothing is kept."""


def tracer_of(settings: TraceSettings | None, service: str, clock: Callable[[], float]) -> Tracer:
    """What the settings ask for; without any, the silent one.

    Args:
        settings: `[traces]`.
        service: the program's kind: "device", "edge" or "cloud".
        clock: monotonic seconds.

    Raises:
        ExtraMissing: OpenTelemetry is not installed.
    """
    if settings is None:
        return Silent()
    try:
        from transport.otel import OpenTelemetry, exporter_to  # only who tells of frames needs the library
    except ModuleNotFoundError as exc:
        raise ExtraMissing(str(exc.name), "otel", "[traces] needs") from exc
    return OpenTelemetry(exporter_to(settings), service, clock, share=settings.share, draw=random.random)
