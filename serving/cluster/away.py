"""Batches that go to a cluster, as a tier's scheduler sees them: one step, whatever the frames' cuts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Final, Protocol

from protocol.errors import IsthmusError
from protocol.messages import Handover
from runtime.bundle import Bundle
from runtime.engines import Engine
from runtime.errors import EngineError, UndecodablePayload
from serving.cluster.errors import WorkerLost
from serving.cluster.messages import Answer, Asked, Done
from serving.errors import TooLate
from serving.passage import Passage
from serving.scheduling.jobs import Path
from serving.served import Served
from serving.steps import Step

_FIRST_PATIENCE_S: Final = 60.0
"""For the first batch, before it is known how long one takes, and for those that nobody waits for."""
_LEAST_PATIENCE_S: Final = 2.0
"""A worker that dies is noticed at once; this is for one that hangs, and must not be met by one on a busy machine."""
_TIMES_USUAL: Final = 20.0
"""A worker that is silent for so many times the usual is given up."""
_SHARE_IF_SLOWER, _SHARE_IF_FASTER = 0.1, 0.5
"""Of the newest batch in what is usual: a slow one may have met a busy machine, or a worker that was lost."""


class Cluster(Protocol):
    """Workers somewhere."""

    def run(self, tag: int, batch: Sequence[Asked], timeout_s: float) -> Sequence[Answer]:
        """Have some worker answer a batch; blocks the calling thread, of which there may be several.

        Raises:
            WorkerLost: no answer will come, or none has come within `timeout_s`.
        """
        ...


class Away:
    """The whole of a bundle from any cut on, done by a cluster. A batch whose worker is lost goes to another one.

    Args:
        bundle: whose frames these are.
        cluster: does the work.
        clock: that of the frames' deadlines.

    Attributes:
        busy_s: seconds for which batches were out, of all threads together.
        lost: batches that had to be given to another worker.
    """

    decodes = False
    joins = True

    def __init__(self, bundle: Bundle, cluster: Cluster, clock: Callable[[], float] = time.monotonic) -> None:
        self._tag = bundle.tag
        self._cluster = cluster
        self._clock = clock
        self._usual_s = 0.0
        self._lock = Lock()
        self.busy_s = 0.0
        self.lost = 0

    def __str__(self) -> str:
        digest = self._tag.to_bytes(8, "little").hex()
        return f"run bundle {digest} on the cluster"

    def __call__(self, passages: Sequence[Passage]) -> Mapping[Passage, IsthmusError]:
        """Run all; blocks until they are answered, or until the time of all is over.

        Returns:
            What is wrong with single frames, or that there was no worker for them in time.
        """
        began_s = self._clock()
        try:
            answers = self._answers(passages)
        except WorkerLost as exc:
            return dict.fromkeys(passages, TooLate(f"no worker answered in time: {exc}"))
        finally:
            self._learn(self._clock() - began_s)
        return dict(_faults(passages, answers))

    def _answers(self, passages: Sequence[Passage]) -> Sequence[Answer]:
        """Try until somebody answers, or nobody has time left; at least once.

        Raises:
            WorkerLost: the last try failed.
        """
        batch = [
            Asked(passage.cut, passage.frame.level, passage.frame.payload, passage.activation, passage.states)
            for passage in passages
        ]
        deadline_s = max(passage.deadline_s for passage in passages)
        if not self._usual_s:  # nobody waits for the first batch but the program's start
            deadline_s = max(deadline_s, self._clock() + _FIRST_PATIENCE_S)
        while True:
            try:
                return self._cluster.run(self._tag, batch, self._patience_s(deadline_s - self._clock()))
            except WorkerLost:
                if self._clock() >= deadline_s:
                    raise
                with self._lock:
                    self.lost += 1

    def _patience_s(self, left_s: float) -> float:
        """How long to wait for one worker: some of the time that is left is for another.

        Where none is left, nobody waits: the batch is one of those that a tier warms itself with.
        """
        if not self._usual_s or left_s <= 0:
            return _FIRST_PATIENCE_S
        return max(_LEAST_PATIENCE_S, min(_TIMES_USUAL * self._usual_s, left_s / 2))

    def _learn(self, took_s: float) -> None:
        with self._lock:
            self.busy_s += took_s
            usual_s = self._usual_s or took_s
            share = _SHARE_IF_FASTER if took_s < usual_s else _SHARE_IF_SLOWER
            self._usual_s = usual_s + share * (min(took_s, 2 * usual_s) - usual_s)


class ServedAway(Served):
    """One bundle whose steps are done by a cluster: a frame goes out as it came, in one step, and comes back answered.

    Raises:
        BundleError: see `Served`.
    """

    def __init__(self, bundle: Bundle, engine: Engine, cluster: Cluster) -> None:
        super().__init__(bundle, engine)
        self.away = Away(bundle, cluster)
        self._path_away = Path(self.away)

    def decode_raw(self, passage: Passage) -> None:
        """Nothing: payloads go out as they came."""

    def between(self, cut: int, level: int | None, handover: Handover | None = None) -> Path:
        """One step, wherever the frame stands, so that frames of all cuts go in the same batches."""
        assert handover is None, "a tier with a cluster is the end of the chain"
        return self._path_away

    def steps(self) -> list[tuple[int, Step]]:
        """The one step, tried with whole inputs."""
        return [(0, self.away)]


def _faults(passages: Sequence[Passage], answers: Sequence[Answer]) -> list[tuple[Passage, IsthmusError]]:
    """Give the passages what came back for them; what is wrong with the others."""
    faults: list[tuple[Passage, IsthmusError]] = []
    for passage, answer in zip(passages, answers, strict=True):
        if isinstance(answer, Done):
            passage.activation = None
            passage.outputs = answer.outputs
            passage.states = answer.states
        else:
            faults.append((passage, (UndecodablePayload if answer.undecodable else EngineError)(answer.detail)))
    return faults
