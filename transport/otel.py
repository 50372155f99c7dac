"""Spans of frames by OpenTelemetry."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import requests
from opentelemetry import trace as api
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from protocol.limits import TRACE_BYTES
from transport.tracing import NOBODY, Facts, Span, TraceSettings

_TRACE_ID_BYTES: Final = 16
_SPAN_ID_BYTES: Final = TRACE_BYTES - _TRACE_ID_BYTES
_EXPORT_S: Final = 3.0
"""For one delivery to the collector. What cannot be delivered is dropped: frames matter more."""
_EVERY_MS: Final = 1000
_SAMPLED: Final = api.TraceFlags(api.TraceFlags.SAMPLED)


def exporter_to(settings: TraceSettings) -> SpanExporter:
    """Delivers spans by OTLP over HTTP."""
    tls, session = settings.tls, requests.Session()
    session.trust_env = False  # or REQUESTS_CA_BUNDLE would count for more than `tls.ca`
    return OTLPSpanExporter(
        endpoint=settings.endpoint,
        timeout=_EXPORT_S,
        certificate_file=None if tls is None else str(tls.ca),
        client_certificate_file=None if tls is None else str(tls.certificate),
        client_key_file=None if tls is None else str(tls.key),
        session=session,
    )


class OpenTelemetry:
    """Spans with the prefix `isthmus.` on all that is told of them. `begin` and `end` cost tens of microseconds.

    Args:
        exporter: takes the spans, in a thread of its own.
        service: name of the service that they are told of.
        clock: monotonic seconds.
        share: of the frames without a trace, for which one begins here.
        draw: a number from 0 to 1 for each of them.
    """

    def __init__(
        self,
        exporter: SpanExporter,
        service: str,
        clock: Callable[[], float],
        *,
        share: float,
        draw: Callable[[], float],
    ) -> None:
        self._clock = clock
        self._share = share
        self._draw = draw
        self._provider = TracerProvider(resource=Resource({SERVICE_NAME: f"isthmus-{service}"}), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=_EVERY_MS))
        self._tracer = self._provider.get_tracer("isthmus")

    def begin(self, name: str, trace: bytes, began_s: float, /) -> Span:
        """Go on with a frame's trace, or begin one for a share of those that have none."""
        if not trace and self._draw() >= self._share:
            return NOBODY
        ago_ns = round(1e9 * (self._clock() - began_s))
        return _Told(self._tracer.start_span(name, _above(trace), start_time=time.time_ns() - ago_ns))

    def close(self) -> None:
        """Deliver what is kept; give up on a collector that does not answer."""
        self._provider.shutdown()


class _Told:
    """A span that is told."""

    __slots__ = ("_span", "trace")

    def __init__(self, span: api.Span) -> None:
        self._span = span
        context = span.get_span_context()
        self.trace = context.trace_id.to_bytes(_TRACE_ID_BYTES, "big") + context.span_id.to_bytes(_SPAN_ID_BYTES, "big")

    def end(self, facts: Callable[[], Facts], /) -> None:
        """Tell it."""
        self._span.set_attributes({f"isthmus.{name}": value for name, value in facts().items()})
        self._span.end()


def _above(trace: bytes) -> Context:
    """The context in which a span continues a frame's trace; an empty one where there is none to continue."""
    trace_id = int.from_bytes(trace[:_TRACE_ID_BYTES], "big")
    span_id = int.from_bytes(trace[_TRACE_ID_BYTES:], "big")
    span = api.NonRecordingSpan(api.SpanContext(trace_id, span_id, is_remote=True, trace_flags=_SAMPLED))
    return api.set_span_in_context(span, Context())
