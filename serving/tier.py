"""What a tier does with a frame: check, decode, run, and answer or hand over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from protocol.errors import Code
from protocol.messages import Frame, Handover, Load, Refusal, Result, Tensor, Timings
from runtime.bundle import Bundle
from runtime.engines import Engine
from runtime.errors import BundleError, UndecodablePayload
from runtime.stretch import Stretch
from serving.errors import Overloaded, TooLate, TwiceServed, UpstreamUnreachable
from serving.served import Activation, Served
from serving.upstream import Upstream
from serving.workers import Workers
from transport.stream import Request

_log = logging.getLogger(__name__)

_FINISH_MARGIN = 1.5
_LEFT_MARGIN = 0.1
"""To finish a frame whose answer does not come from above, a tier leaves itself this many times the mean duration of
the work, and this share of the time that the frame has left."""
_UINT32 = (1 << 32) - 1

Made = TypeVar("Made")


@dataclass(slots=True)
class _Passage:
    """One frame on its way through: where it stands, and what it has cost so far."""

    frame: Frame
    served: Served
    arrived_s: float
    deadline_s: float
    cut: int
    activation: Activation | None = None
    """At `cut`, once decoded."""
    queue_s: float = 0.0
    decode_s: float = 0.0
    run_s: float = 0.0
    upstream_s: float = 0.0


class Tier:
    """Handles frames of several bundles in a few threads. Its `__call__` is the server's handler.

    A frame with a handover goes to the tier above; where that tier is missing, unreachable, unwilling, or silent until
    there is just time to do the rest here, this tier finishes the frame itself.

    Args:
        name: "edge" or "cloud", for `answered_by`.
        bundles: what is served; closing them stays with the caller.
        engine: runs the segments.
        upstream: the tier above, if there is one; starting and closing it stays with the caller.
        clock: monotonic seconds, the same as the server's.
        threads: frames worked on at the same time.
        capacity: frames that may wait.
        stretch: makes work slower, for an emulated tier.

    Raises:
        TwiceServed: two bundles have one digest.
    """

    def __init__(
        self,
        name: str,
        bundles: Iterable[Bundle],
        engine: Engine,
        *,
        upstream: Upstream | None,
        clock: Callable[[], float],
        threads: int = 1,
        capacity: int = 64,
        stretch: Stretch | None = None,
    ) -> None:
        self.name = name
        self._served: dict[int, Served] = {}
        for bundle in bundles:
            if bundle.tag in self._served:
                raise TwiceServed(f"bundle {str(bundle.path)!r} is served already; remove one of the two from bundles")
            self._served[bundle.tag] = Served(bundle, engine)
        self._upstream = upstream
        self._clock = clock
        self._workers = Workers(threads, capacity, clock)
        self._stretch = stretch or Stretch()

    def digests(self) -> tuple[bytes, ...]:
        """The bundles served."""
        return tuple(served.bundle.digest for served in self._served.values())

    def load(self) -> Load:
        """How busy this tier is now."""
        return Load(self._workers.queued, _us(self._workers.wait_s))

    async def start(self) -> None:
        """Load and warm every bundle, then take work.

        Raises:
            BundleError: a bundle cannot be run here.
        """
        for served in self._served.values():
            await asyncio.to_thread(served.warm)
        self._workers.start()

    async def stop(self) -> None:
        """Finish what runs, cancel what waits."""
        await self._workers.stop()

    async def __call__(self, request: Request) -> Result | Refusal:
        """One frame's answer: a result, or why there is none."""
        frame = request.frame
        served = self._served.get(frame.bundle)
        if served is None:
            return self._refuse(frame, Code.UNKNOWN_BUNDLE, "the frame's bundle is not served here")
        fault = served.fault(frame)
        if fault is not None:
            return self._refuse(frame, *fault)
        deadline_s = request.arrived_s + frame.remaining_us / 1e6
        passage = _Passage(frame, served, request.arrived_s, deadline_s, frame.cut)
        try:
            return await self._through(passage)
        except UndecodablePayload as exc:
            return self._refuse(frame, Code.UNDECODABLE, str(exc))
        except TooLate as exc:
            return self._refuse(frame, Code.EXPIRED, str(exc))
        except Overloaded as exc:
            return replace(self._refuse(frame, Code.OVERLOADED, str(exc)), retry_after_us=exc.wait_us)
        except BundleError as exc:
            _log.error("frame %d of %r: %s", frame.id, request.sender, exc)
            return self._refuse(frame, Code.INTERNAL, "this tier cannot run the frame's bundle; its log says why")

    async def _through(self, passage: _Passage) -> Result | Refusal:
        handover = passage.frame.handover
        if handover is not None and self._upstream is not None and self._upstream.ready:
            answer = await self._hand_over(passage, handover, self._upstream)
            if answer is not None:
                return answer
        outputs = await self._work(passage, _finishing(passage), partial(self._finish, passage))
        return self._result(passage, outputs, self.name)

    async def _hand_over(self, passage: _Passage, handover: Handover, upstream: Upstream) -> Result | Refusal | None:
        """The answer from above, or None where this tier must finish the frame."""
        frame = passage.frame
        payload, shape = frame.payload, frame.shape
        if handover != Handover(frame.cut, frame.level):
            kind = (frame.bundle, frame.cut, frame.level, handover)
            payload = await self._work(passage, kind, partial(self._prepare, passage, handover))
            shape = passage.served.bundle.manifest.cuts[handover.cut].tensor.shape
        asked = self._clock()
        upward = Frame.build(
            id=frame.id,
            bundle=frame.bundle,
            cut=handover.cut,
            level=handover.level,
            shape=shape,
            payload=payload,
            captured_us=frame.captured_us,
            remaining_us=max(1, _us(passage.deadline_s - asked)),
            trace=frame.trace,
        )
        try:
            async with asyncio.timeout(self._patience_s(passage, asked)):
                answer = await upstream.ask(upward)
        except TimeoutError:
            _log.info("frame %d: no answer from above, finishing it here", frame.id)
            return None
        except UpstreamUnreachable as exc:
            _log.info("frame %d: finishing it here: %s", frame.id, exc)
            return None
        finally:
            passage.upstream_s = self._clock() - asked
        if isinstance(answer, Result):
            return self._result(passage, answer.outputs, answer.answered_by)
        if answer.code is Code.EXPIRED:
            return self._refuse(frame, Code.EXPIRED, answer.detail)
        _log.info("frame %d: finishing it here: refused above: %s: %s", frame.id, answer.code.name, answer.detail)
        return None

    def _patience_s(self, passage: _Passage, now: float) -> float | None:
        """How long to wait for the tier above and still finish here in time; None where that is not worth the haste."""
        left = passage.deadline_s - now
        work = self._workers.times.mean_s(_finishing(passage))
        own = self._workers.wait_s + work * _FINISH_MARGIN + left * _LEFT_MARGIN
        return left - own if own < left / 2 else None

    async def _work(self, passage: _Passage, kind: object, work: Callable[[], Made]) -> Made:
        done = await self._workers.do(kind, passage.deadline_s, work)
        passage.queue_s += done.waited_s
        return done.made

    def _prepare(self, passage: _Passage, handover: Handover) -> bytes:
        """In a thread: decode, run to the handover's cut, encode."""
        activation = self._decoded(passage)
        began = self._clock()
        served = passage.served
        activation = self._stretch.call(served.advance, activation, passage.cut, handover.cut)
        payload = self._stretch.call(served.encode, activation, handover.cut, handover.level)
        passage.cut, passage.activation = handover.cut, activation
        passage.run_s += self._clock() - began
        return payload

    def _finish(self, passage: _Passage) -> tuple[Tensor, ...]:
        """In a thread: run to the end from wherever the frame stands."""
        activation = self._decoded(passage)
        began = self._clock()
        outputs = self._stretch.call(passage.served.finish, activation, passage.cut)
        passage.run_s += self._clock() - began
        return outputs

    def _decoded(self, passage: _Passage) -> Activation:
        if passage.activation is None:
            began = self._clock()
            passage.activation = self._stretch.call(passage.served.decode, passage.frame)
            passage.decode_s += self._clock() - began
        return passage.activation

    def _result(self, passage: _Passage, outputs: tuple[Tensor, ...], answered_by: str) -> Result:
        timings = Timings(
            queue_us=_us(passage.queue_s),
            decode_us=_us(passage.decode_s),
            run_us=_us(passage.run_s),
            upstream_us=_us(passage.upstream_s),
            total_us=_us(self._clock() - passage.arrived_s),
        )
        return Result(passage.frame.id, outputs, answered_by, timings, self.load())

    def _refuse(self, frame: Frame, code: Code, detail: str) -> Refusal:
        return Refusal(frame.id, code, detail, load=self.load())


def _finishing(passage: _Passage) -> tuple[object, ...]:
    """The kind of work that finishing is, for its usual duration."""
    return (passage.frame.bundle, passage.cut, passage.activation is None and passage.frame.level)


def _us(seconds: float) -> int:
    return min(max(0, round(seconds * 1e6)), _UINT32)
