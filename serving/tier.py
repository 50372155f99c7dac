"""What a tier does with a frame: check, decode, run, and answer or hand over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Protocol

from protocol.errors import Code
from protocol.messages import Frame, Handover, Load, Refusal, Result, Tensor, Timings
from runtime.bundle import Bundle
from runtime.engines import Engine
from runtime.errors import BundleError, UndecodablePayload
from runtime.logs import traced
from runtime.streams import needs, place_of
from runtime.stretch import Stretch
from serving.errors import Overloaded, StateLost, TooLate, TwiceServed, UpstreamUnreachable
from serving.passage import Passage
from serving.relaying.relay import RelayMaker
from serving.relaying.upstreams import Upstreams
from serving.served import Served
from serving.settings import StateSettings
from serving.spans import facts_of
from serving.states import States
from serving.turns import Turn
from serving.warming import warm
from serving.workers import Workers
from transport.stream import Request
from transport.tracing import Silent, Tracer

_log = logging.getLogger(__name__)

_FINISH_MARGIN = 1.5
_LEFT_MARGIN = 0.1
"""To finish a frame whose answer does not come from above, a tier leaves itself this many times the mean duration of
the work, and this share of the time that the frame has left."""
_TIMER_S = 0.001
"""A frame is cancelled at its deadline by a timer, which may be this much early."""
_UINT32 = (1 << 32) - 1


class Observer(Protocol):
    """Is told how each frame ended, on the event loop."""

    def __call__(self, passage: Passage, request: Request, answer: Result | Refusal, /) -> None: ...


def _nobody(passage: Passage, request: Request, answer: Result | Refusal, /) -> None:
    """Observes nothing."""


class Tier:
    """Handles frames of several bundles, many at once. Its `__call__` is the server's handler.

    A frame with a handover goes to a tier above; where that tier is missing, unreachable, unwilling, or silent until
    there is just time to do the rest here, this tier finishes the frame itself.

    Args:
        name: "edge" or "cloud", for `answered_by`.
        bundles: what is served; closing them stays with the caller.
        engine: runs the segments.
        upstream: the tiers above, if there are any; starting and closing them stays with the caller.
        clock: monotonic seconds, the same as the server's.
        threads: batches worked on at the same time.
        capacity: frames that may be here and unanswered.
        weights: shares of senders, by name; any other has 1.
        relay: makes what chooses which frames go up; None hands them over as they ask for it.
        stretch: makes work slower, for an emulated tier.
        observe: is told how each frame of a bundle served here ended.
        tracer: tells of frames that are followed over all tiers; None of none.
        states: what is kept for streams, of bundles whose segments keep state; None makes one with the usual bounds.
        serve: makes the steps and paths of a bundle; others than the usual ones have them done elsewhere.

    Attributes:
        name: as given.
        workers: do the work.

    Raises:
        TwiceServed: two bundles have one digest.
        WorthOfNone: what goes up is chosen by the worth of a model that is not served.
    """

    def __init__(
        self,
        name: str,
        bundles: Iterable[Bundle],
        engine: Engine,
        *,
        upstream: Upstreams | None,
        clock: Callable[[], float],
        threads: int = 1,
        capacity: int = 256,
        weights: Mapping[str, float] | None = None,
        relay: RelayMaker | None = None,
        stretch: Stretch | None = None,
        observe: Observer | None = None,
        tracer: Tracer | None = None,
        states: States | None = None,
        serve: Callable[[Bundle, Engine], Served] = Served,
    ) -> None:
        self.name = name
        self._served: dict[int, Served] = {}
        for bundle in bundles:
            if bundle.tag in self._served:
                raise TwiceServed(f"bundle {str(bundle.path)!r} is served already; remove one of the two from bundles")
            self._served[bundle.tag] = serve(bundle, engine)
        self._upstream = upstream
        self._clock = clock
        self._stretch = stretch or Stretch()
        self.workers = Workers(threads, capacity, clock, weights=weights, stretch=self._stretch)
        self._relay = None if upstream is None or relay is None else relay(upstream, self.workers, clock)
        if self._relay is not None:
            self._relay.expect({served.bundle.manifest.model_id for served in self._served.values()})
        self._observe = observe or _nobody
        self._tracer = tracer or Silent()
        usual = StateSettings()
        self._states = states or States(usual.most_bytes, usual.idle_s, clock)

    def digests(self) -> tuple[bytes, ...]:
        """The bundles served."""
        return tuple(served.bundle.digest for served in self._served.values())

    def load(self) -> Load:
        """How busy this tier is now."""
        return Load(self.workers.queued, _us(self.workers.wait_s))

    async def start(self) -> None:
        """Load and warm every bundle, then take work.

        Raises:
            BundleError: a bundle cannot be run here.
        """
        for served in self._served.values():
            await asyncio.to_thread(warm, served, self.workers.scheduler.costs, self._stretch)
        self.workers.start()

    async def stop(self) -> None:
        """Finish what runs, cancel what waits."""
        await self.workers.stop()

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
        span = self._tracer.begin(f"{self.name} frame", frame.trace, request.arrived_s)
        passage = Passage(frame, request.arrived_s, deadline_s, frame.cut, trace=span.trace)
        answer: Result | Refusal | None = None
        try:
            answer = await self._answer(passage, served, request.sender)
        except asyncio.CancelledError:
            if self._clock() >= deadline_s - _TIMER_S:
                answer = self._refuse(frame, Code.EXPIRED, "its time was over before it was done")
            raise
        finally:
            span.end(partial(facts_of, passage, request, answer))
            if answer is not None:
                self._note(passage, served, request, answer)
        return answer

    def _note(self, passage: Passage, served: Served, request: Request, answer: Result | Refusal) -> None:
        """A frame has ended: tell who counts."""
        if self._relay is not None:
            self._relay.ended(passage, served, answer)
        self._observe(passage, request, answer)

    def explained(self) -> dict[str, object]:
        """What was learnt about costs, and what is done with it, for a person."""
        utility = {} if self._relay is None else self._relay.explained()
        return self.workers.explained() | {"states": self._states.explained(), "utility": utility}

    async def _answer(self, passage: Passage, served: Served, sender: str) -> Result | Refusal:
        frame = passage.frame
        try:
            return await self._through(passage, served, sender)
        except UndecodablePayload as exc:
            return self._refuse(frame, Code.UNDECODABLE, str(exc))
        except TooLate as exc:
            return self._refuse(frame, Code.EXPIRED, str(exc))
        except Overloaded as exc:
            return replace(self._refuse(frame, Code.OVERLOADED, str(exc)), retry_after_us=_bounded(exc.wait_us))
        except BundleError as exc:
            _log.error("frame %d of %r: %s", frame.id, sender, exc, extra=traced(passage.trace))
            return self._refuse(frame, Code.INTERNAL, "this tier cannot run the frame's bundle; its log says why")

    async def _through(self, passage: Passage, served: Served, sender: str) -> Result | Refusal:
        if not served.bundle.manifest.keeps_state:
            try:
                return await self._onward(passage, served, sender)
            except (Overloaded, TooLate):
                answer = await self._otherwise(passage, served, sender)
                if answer is None:
                    raise
                return answer
        place, payload = place_of(passage.frame.payload)
        passage.frame = replace(passage.frame, payload=payload)
        stream = (sender, passage.frame.bundle, place.stream)
        async with self._states.turn(stream) as kept:
            try:
                return await self._onward(passage, served, sender, Turn(stream, place, kept))
            except StateLost as exc:
                return self._result(passage, needs(exc.step), self.name)

    async def _onward(
        self, passage: Passage, served: Served, sender: str, turn: Turn | None = None
    ) -> Result | Refusal:
        served.decode_raw(passage)
        handover = self._handover(passage, served, turn)
        if handover is not None and self._upstream is not None:
            answer = await self._hand_over(passage, served, sender, handover, self._upstream, turn)
            if answer is not None:
                return answer
        if turn is not None and passage.frame.handover is not None:
            turn.kept.here = True
        await self._do(passage, served, sender, None, turn)
        return self._result(passage, passage.outputs, self.name)

    async def _otherwise(self, passage: Passage, served: Served, sender: str) -> Result | Refusal | None:
        """Answer a frame that there is no time for here: in an idle moment, or passed up as it came; None: shed it."""
        relay, upstream, frame = self._relay, self._upstream, passage.frame
        tried = passage.upstream_s > 0
        if relay is None or upstream is None or tried:
            return None
        until_s = relay.idle_until_s(frame, served, passage.deadline_s)
        if until_s is not None:
            with suppress(Overloaded, TooLate):
                await self.workers.do_if_idle(passage, served.path(passage), sender, until_s)
                return self._result(passage, passage.outputs, self.name)
        if not relay.goes_up(frame, served, passage.deadline_s):
            return None
        return await self._hand_over(passage, served, sender, Handover(frame.cut, frame.level), upstream, None)

    def _handover(self, passage: Passage, served: Served, turn: Turn | None) -> Handover | None:
        """Where a frame leaves this tier, if it does. A stream stays where it is, in this tier as in those above."""
        handover, upstream = passage.frame.handover, self._upstream
        if upstream is None or not upstream.ready:
            return None
        if turn is not None:
            return None if turn.kept.here else handover
        if self._relay is None:
            return handover
        return self._relay.choose(passage.frame, served, handover, passage.deadline_s)

    async def _do(
        self, passage: Passage, served: Served, sender: str, handover: Handover | None, turn: Turn | None
    ) -> None:
        """The rest of a frame's way, or as far as a handover's payload."""
        segments = range(passage.cut, len(served.runs) if handover is None else handover.cut)
        if turn is not None:
            turn.begin(passage, segments)
        score = 0.0
        if self._relay is not None and turn is None:
            score = self._relay.score(passage.frame, served, passage.deadline_s)
        await self.workers.do(passage, served.path(passage, handover), sender, score=score)
        if turn is not None:
            turn.end(passage, segments)

    async def _hand_over(
        self,
        passage: Passage,
        served: Served,
        sender: str,
        handover: Handover,
        upstream: Upstreams,
        turn: Turn | None,
    ) -> Result | Refusal | None:
        """The answer from above, or None where this tier must finish the frame."""
        frame = passage.frame
        payload, shape = frame.payload, frame.shape
        if frame.is_front or handover != Handover(frame.cut, frame.level):  # a front goes up as a whole payload
            await self._do(passage, served, sender, handover, turn)
            payload = passage.payload
            if self._relay is not None:
                self._relay.encoded(frame, handover, len(payload))
            shape = served.bundle.manifest.cuts[handover.cut].tensor.shape
        asked = self._clock()
        upward = Frame.build(
            id=frame.id,
            bundle=frame.bundle,
            cut=handover.cut,
            level=handover.level,
            shape=shape,
            payload=payload if turn is None else turn.upward(payload),
            captured_us=frame.captured_us,
            remaining_us=max(1, _us(passage.deadline_s - asked)),
            trace=passage.trace,
        )
        try:
            async with asyncio.timeout(self._patience_s(passage, served, asked)):
                answer = await (upstream.ask(upward) if turn is None else turn.ask(upstream, upward))
        except TimeoutError:
            _log.info("frame %d: no answer from above, finishing it here", frame.id, extra=traced(passage.trace))
            return None
        except UpstreamUnreachable as exc:
            _log.info("frame %d: finishing it here: %s", frame.id, exc, extra=traced(passage.trace))
            return None
        finally:
            passage.upstream_s = self._clock() - asked
        if isinstance(answer, Result):
            if self._relay is not None and turn is None:
                self._relay.answered(served, handover, answer)
            return self._result(passage, answer.outputs, answer.answered_by)
        if answer.code is Code.EXPIRED:
            return self._refuse(frame, Code.EXPIRED, answer.detail)
        why = f"refused above: {answer.code.name}: {answer.detail}"
        _log.info("frame %d: finishing it here: %s", frame.id, why, extra=traced(passage.trace))
        return None

    def _patience_s(self, passage: Passage, served: Served, now: float) -> float | None:
        """How long to wait for the tier above and still finish here in time; None where that is not worth the haste."""
        left = passage.deadline_s - now
        work = self.workers.estimate_s(served.path(passage))
        own = self.workers.wait_s + work * _FINISH_MARGIN + left * _LEFT_MARGIN
        return left - own if own < left / 2 else None

    def _result(self, passage: Passage, outputs: tuple[Tensor, ...], answered_by: str) -> Result:
        timings = Timings(
            queue_us=_us(passage.queue_s),
            decode_us=_us(passage.decode_s),
            run_us=_us(passage.run_s),
            upstream_us=_us(passage.upstream_s),
            total_us=_us(self._clock() - passage.arrived_s),
            arrived_us=_clock_us(passage.arrived_s),
        )
        return Result(passage.frame.id, outputs, answered_by, timings, self.load())

    def _refuse(self, frame: Frame, code: Code, detail: str) -> Refusal:
        return Refusal(frame.id, code, detail, load=self.load())


def _us(seconds: float) -> int:
    return _bounded(round(seconds * 1e6))


def _clock_us(moment_s: float) -> int:
    """A moment of this tier's clock as answers tell it; never 0, which would tell nothing."""
    return int(moment_s * 1e6) % (_UINT32 + 1) or 1


def _bounded(microseconds: int) -> int:
    return microseconds if 0 <= microseconds <= _UINT32 else min(max(0, microseconds), _UINT32)
