"""One tier above, as something that is asked and answers, and whose link is measured by what it is asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from adaptation.hints import WaitHints
from adaptation.link import UplinkEstimator
from adaptation.plan import Route
from adaptation.snapshot import LinkEstimate
from protocol.errors import Code
from protocol.messages import Frame, Hello, Load, Refusal, Result, Timings
from serving.errors import UpstreamUnreachable
from transport.asking import Questions
from transport.client import FrameClient
from transport.errors import NotReady
from transport.events import Answered, ClientEvent, Lost, Probed, Refused, Welcomed
from transport.settings import Dial

ELSEWHERE: Final = frozenset(
    {Code.OVERLOADED, Code.DRAINING, Code.UNKNOWN_BUNDLE, Code.UPSTREAM, Code.INTERNAL, Code.FORBIDDEN}
)
"""Refusals that say more about the tier than about the frame: another tier may take it."""
_SHARE_OF_NEWEST: Final = 0.1
_REST_S: Final = 0.1
"""After one of them, others are asked first for so long, or for as long as the refusal says."""


class Upstream:
    """A client of a tier above, whose frames carry ids of their own.

    Args:
        dial: its address and our credentials.
        hello: names this tier, and the bundles whose frames it will pass up.
        clock: monotonic seconds.

    Attributes:
        work_s: mean time of late that it took for a frame, without waiting; 0 before the first.
    """

    def __init__(self, dial: Dial, hello: Hello, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = FrameClient(dial, hello, self._learn)
        self._one_clock = dial.group is None
        """Whether all answers are of one machine: behind a broker there may be several."""
        self._clock = clock
        self._questions = Questions(UpstreamUnreachable)
        self._estimator = UplinkEstimator()
        self._hints = WaitHints()
        self._rests_until_s = clock()
        self.work_s = 0.0

    @property
    def target(self) -> str:
        """Its address."""
        return self._client.target

    @property
    def ready(self) -> bool:
        """Whether it can be asked now."""
        return self._client.credits_left > 0

    @property
    def willing(self) -> bool:
        """Whether it has not turned frames away a moment ago."""
        return self._clock() >= self._rests_until_s

    def link(self) -> LinkEstimate:
        """What is believed about the link to it."""
        return self._estimator.estimate(self._clock())

    def wait_s(self) -> float:
        """How long a frame would wait there, as far as its own word is to be believed."""
        return self._hints.wait_s(self._clock())

    def start(self) -> None:
        """Begin to connect."""
        self._client.start()

    async def close(self) -> None:
        """End the stream; whoever waits gets `UpstreamUnreachable`."""
        await self._client.close()

    async def ended(self) -> None:
        """Return when it connects no more; or raise what broke it, which is a defect."""
        await self._client.ended()

    async def until_ready(self) -> None:
        """Return as soon as a stream is up; put a timeout around it."""
        await self._client.until_ready()

    async def ask(self, frame: Frame) -> Result | Refusal:
        """Send a frame up and wait for its answer, which carries another id. Cancelling withdraws the frame.

        Raises:
            UpstreamUnreachable: no stream, no credit, or the stream broke before the answer.
        """
        with self._questions.asked() as (frame_id, answer):
            try:
                sent_bytes = self._client.send(replace(frame, id=frame_id))
                now_s = self._clock()
                self._estimator.sent(frame_id, sent_bytes, now_s, Route.CLOUD)
                self._hints.sent(frame_id, now_s)
                return await answer
            except NotReady as exc:
                raise UpstreamUnreachable(str(exc)) from exc
            except asyncio.CancelledError:
                if self._client.cancel(frame_id):
                    self._estimator.withdrawn(frame_id)
                else:
                    self._estimator.abandoned(frame_id, self._clock())
                raise

    def _learn(self, event: ClientEvent) -> None:
        now_s = self._clock()
        match event:
            case Welcomed(welcome):
                self._hint(welcome.load, now_s)
            case Answered(result):
                self._hints.answered(result.id, now_s)
                self._hint(result.load, now_s)
                told = result.timings
                arrived_us = told.arrived_us if self._one_clock else 0
                self._estimator.acknowledged(result.id, now_s, 1e-6 * told.total_us, arrived_us=arrived_us)
                self._learn_work(told)
                self._questions.settle(result)
            case Refused(refusal):
                self._hint(refusal.load, now_s)
                self._estimator.acknowledged(refusal.id, now_s, 0.0)
                if refusal.code in ELSEWHERE:
                    self._rests_until_s = now_s + max(_REST_S, 1e-6 * refusal.retry_after_us)
                self._questions.settle(refusal)
            case Lost(frames, reason):
                self._estimator.disconnected(Route.CLOUD, now_s)
                self._questions.lose(frames, reason)
            case Probed():
                pass

    def _learn_work(self, timings: Timings) -> None:
        work_s = 1e-6 * max(0, timings.total_us - timings.queue_us)
        self.work_s += (_SHARE_OF_NEWEST if self.work_s else 1.0) * (work_s - self.work_s)

    def _hint(self, load: Load, now_s: float) -> None:
        self._hints.hinted(1e-6 * load.wait_us, now_s)
