"""What the statistics extension tells: of each model, the requests of this protocol, and the batches they went in."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from protocol.messages import Refusal, Result
from serving.passage import Passage
from serving.scheduling.jobs import Batch
from transport.stream import Request

NO_STREAM: Final = 0
"""Frame id of items of inference requests: no frame of a stream may have it."""
_REMEMBERED: Final = 256
"""Batches in whose company items may still come: more than there are threads."""


@dataclass(slots=True)
class Duration:
    """How often, and how long in sum, in nanoseconds."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        """Once more."""
        self.count += 1
        self.ns += ns


@dataclass(slots=True)
class ModelStatistics:
    """Of one version of one model, since the start.

    Attributes:
        last_inference_ms: when the last request was made, since the epoch; 0 before the first.
        inference_count: items of successful requests.
        execution_count: batches of the last segment in which items of requests went, alone or with others.
        success, fail: requests, from arrival to answer.
        queue, compute_input, compute_infer, compute_output: of successful requests; of a request's items, the longest.
        batches: by size of batch, everybody's items counted, the time of the last segment.
    """

    last_inference_ms: int = 0
    inference_count: int = 0
    execution_count: int = 0
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)
    batches: dict[int, Duration] = field(default_factory=dict)


class Statistics:
    """Counts. Give the instance to a tier as `observe`; belongs to the tier's event loop."""

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock
        self._models: dict[int, ModelStatistics] = {}
        self._seen: dict[Batch, None] = {}
        """The last ones counted, the oldest first."""

    def of(self, tag: int) -> ModelStatistics:
        """Those of one bundle."""
        found = self._models.get(tag)
        if found is None:
            found = self._models[tag] = ModelStatistics()
        return found

    def __call__(self, passage: Passage, request: Request, answer: Result | Refusal, /) -> None:
        """A frame has ended: count its batch, if it was an item of a request and the first of its batch to end."""
        batch = passage.batch
        if request.frame.id != NO_STREAM or isinstance(answer, Refusal) or batch is None:
            return
        if batch in self._seen:
            return
        self._seen[batch] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        found = self.of(request.frame.bundle)
        found.execution_count += 1
        found.batches.setdefault(len(batch.jobs), Duration()).add(_ns(passage.batch_s))

    def succeeded(self, tag: int, results: Sequence[Result], took_s: float, answering_s: float) -> None:
        """A request was answered, with one result for each item; its answer took `answering_s` to put together."""
        found = self._requested(tag)
        found.inference_count += len(results)
        found.success.add(_ns(took_s))
        timings = [result.timings for result in results]
        found.queue.add(1000 * max([timing.queue_us for timing in timings]))
        found.compute_input.add(1000 * max([timing.decode_us for timing in timings]))
        found.compute_infer.add(1000 * max([timing.run_us for timing in timings]))
        found.compute_output.add(_ns(answering_s))

    def failed(self, tag: int, took_s: float) -> None:
        """A request for a model that is served was refused."""
        self._requested(tag).fail.add(_ns(took_s))

    def _requested(self, tag: int) -> ModelStatistics:
        found = self.of(tag)
        found.last_inference_ms = int(self._wall_clock() * 1000)
        return found


def _ns(seconds: float) -> int:
    return max(0, round(seconds * 1e9))
