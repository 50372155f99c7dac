"""Figures of a tier for Prometheus: base units, the prefix `isthmus_`, and no device's name in any label."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from protocol.messages import Load, Refusal, Result
from serving.passage import Passage
from transport.stream import Request

_SECONDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Observed(Protocol):
    """What of a tier is read when somebody asks for figures."""

    def load(self) -> Load: ...

    def explained(self) -> dict[str, object]: ...


class Metrics:
    """A registry of its own. Give the instance to a tier as `observe`, and the tier to `watch`.

    Args:
        clock: the tier's, to tell answers that come late.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        self._clock = clock
        self._ended = Counter(
            "isthmus_frames",
            "Frames by how they ended: answered, or the code of the refusal.",
            ["outcome", "answered_by", "cut"],
            registry=self.registry,
        )
        self._late = Counter("isthmus_late_answers", "Answers made after the frame's deadline.", registry=self.registry)
        self._bytes = Counter("isthmus_payload_bytes", "Payloads received.", ["cut"], registry=self.registry)
        self._seconds = Histogram(
            "isthmus_frame_seconds",
            "Time of answered frames in this tier, by what it was spent on.",
            ["part"],
            buckets=_SECONDS,
            registry=self.registry,
        )

    def __call__(self, passage: Passage, request: Request, answer: Result | Refusal, /) -> None:
        """Count one frame."""
        cut = str(passage.frame.cut)
        self._bytes.labels(cut).inc(len(passage.frame.payload))
        if isinstance(answer, Refusal):
            self._ended.labels(answer.code.name.lower(), "", cut).inc()
            return
        self._ended.labels("answered", _tier(answer.answered_by), cut).inc()
        now_s = self._clock()
        if now_s > passage.deadline_s:
            self._late.inc()
        for part, seconds in (
            ("queue", passage.queue_s),
            ("decode", passage.decode_s),
            ("run", passage.run_s),
            ("upstream", passage.upstream_s),
            ("total", now_s - passage.arrived_s),
        ):
            self._seconds.labels(part).observe(seconds)

    def watch(self, tier: Observed) -> None:
        """Read the tier's queue and batches whenever figures are asked for."""
        self.registry.register(_Now(tier))


class _Now(Collector):
    """Figures that the tier keeps anyway."""

    def __init__(self, tier: Observed) -> None:
        self._tier = tier

    def collect(self) -> Iterator[Metric]:
        """As they are at this moment."""
        load, told = self._tier.load(), self._tier.explained()
        yield GaugeMetricFamily("isthmus_queued_frames", "Frames that wait for a thread.", load.queued)
        yield GaugeMetricFamily("isthmus_wait_seconds", "How long a frame arriving now would wait.", load.wait_us / 1e6)
        batches = CounterMetricFamily("isthmus_batches", "Batches done, by step.", labels=["step"])
        frames = CounterMetricFamily("isthmus_batched_frames", "Frames in those batches.", labels=["step"])
        seconds = GaugeMetricFamily("isthmus_step_seconds", "What one frame alone costs, by step.", labels=["step"])
        steps = told["steps"]
        assert isinstance(steps, dict)
        for step, known in steps.items():
            batches.add_metric([step], known["batches"])
            frames.add_metric([step], round(known["batches"] * known["mean_size"]))
            if "1" in known["seconds_by_size"]:
                seconds.add_metric([step], known["seconds_by_size"]["1"])
        yield from (batches, frames, seconds)
        yield from self._utility(told.get("utility"))
        states = told.get("states")
        if not isinstance(states, dict):
            return
        yield GaugeMetricFamily("isthmus_streams", "Streams that state is kept for.", states["streams"])
        yield GaugeMetricFamily("isthmus_state_bytes", "What is kept for them.", states["bytes"])
        yield CounterMetricFamily(
            "isthmus_dropped_streams", "Streams dropped for others, or as idle.", states["dropped"]
        )

    @staticmethod
    def _utility(told: object) -> Iterator[Metric]:
        """What answers were worth, by model, where that is the goal; benefits may be less than costs."""
        if not isinstance(told, dict) or not told:
            return
        utility = GaugeMetricFamily(
            "isthmus_utility", "What answers in time were worth, bonuses included, less what frames cost.",
            labels=["model"],
        )  # fmt: skip
        for model, one in told.items():
            utility.add_metric([model], one["utility"] + one["bonuses"])
        yield utility


def _tier(answered_by: str) -> str:
    """A label that has few values, whatever a tier above calls itself."""
    return answered_by if answered_by in ("edge", "cloud") else "other"
