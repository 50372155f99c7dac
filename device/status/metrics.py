"""Prometheus metrics of one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from device.history import FrameRecord

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5, 1.0, 2.5, 10.0)
Gauges = Callable[[], dict[str, tuple[str, dict[str, float]]]]
"""Name to (help, value by label; the empty label for one value). Called in a thread of the server."""


class Metrics:
    """Counts frames as they end; gauges are asked for when somebody looks.

    No label names the device: who collects them knows whom it asked, and thousands of names would be as many series.

    Args:
        gauges: of the moment.
    """

    def __init__(self, gauges: Gauges) -> None:
        self._registry = CollectorRegistry()
        of = {"namespace": "isthmus", "subsystem": "device", "registry": self._registry}
        self._frames = Counter("frames", "Frames that ended", ["ended", "by"], **of)  # type: ignore[arg-type]
        self._in_time = Counter("frames_in_time", "Frames answered in time", **of)  # type: ignore[arg-type]
        self._bytes = Counter("sent_bytes", "Bytes put on the link", **of)  # type: ignore[arg-type]
        self._latency = Histogram(
            "latency_seconds", "From capture to answer", buckets=SECONDS, **of  # type: ignore[arg-type]
        )  # fmt: skip
        self._registry.register(_Asked(gauges))
        ProcessCollector(registry=self._registry)

    def add(self, record: FrameRecord) -> None:
        """A frame has ended."""
        self._frames.labels(str(record.ended), record.by or "nobody").inc()
        self._bytes.inc(record.message_bytes)
        if record.in_time:
            self._in_time.inc()
        if record.by is not None and not record.late:
            self._latency.observe(record.latency_s)

    def text(self) -> bytes:
        """In Prometheus's text format."""
        return generate_latest(self._registry)


class _Asked(Collector):
    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        for name, (told, values) in self._gauges().items():
            labelled = "" not in values
            family = GaugeMetricFamily(f"isthmus_device_{name}", told, labels=["of"] if labelled else [])
            for of, value in values.items():
                family.add_metric([of] if labelled else [], value)
            yield family
