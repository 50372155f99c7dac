"""Answering the spool: what is worth most first, and only in time that no live frame wants."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from adaptation.plan import Choice, Plan, Route
from device.afterwards import Afterwards
from device.agent import Agent
from device.errors import SpoolError
from device.frames import OpenFrame
from device.sources import Captured
from device.spool import Kept, Spool

LOOK_S = 0.1
"""How often it is asked whether there is time for a frame of the spool."""
QUIET_S = 1.0
"""Without a live frame for so long, the spool may have all the time there is."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DrainRules:
    """When frames of the spool are answered.

    Attributes:
        share: of the time that they may take at most while live frames come.
        allowed_s: for one of them, from being taken out to its answer.
        alone: whether the device answers them by itself while no tier is reachable.
    """

    share: float = 0.25
    allowed_s: float = 30.0
    alone: bool = True


class Draining:
    """One frame at a time: the next begins when the last has ended and live frames have had their share.

    A live frame waits at most for the one frame that is being computed, and shares the uplink with one at most.

    Args:
        spool: what is to be answered.
        afterwards: knows which of it is in hand already, and takes the answers.
        agent: the one in charge now.
        plan: the plan in force.
        rules: how much may be done.
        live_s: when the last live frame was captured.
        clock: the agent's.
    """

    def __init__(
        self,
        spool: Spool,
        afterwards: Afterwards,
        agent: Callable[[], Agent],
        plan: Callable[[], Plan],
        rules: DrainRules,
        live_s: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self._spool = spool
        self._afterwards = afterwards
        self._agent = agent
        self._plan = plan
        self._rules = rules
        self._live_s = live_s
        self._clock = clock

    async def run(self) -> None:
        """Drain until cancelled."""
        while True:
            took_s = await self._one()
            busy = self._clock() - self._live_s() < QUIET_S
            rest_s = took_s * (1.0 - self._rules.share) / self._rules.share if busy else 0.0
            await asyncio.sleep(rest_s if took_s > 0.0 and not busy else max(LOOK_S, rest_s))

    async def _one(self) -> float:
        """Answer one frame if there is one and time for it; seconds that it took, 0 if none."""
        agent = self._agent()
        if not len(self._spool) or not agent.idle or not self._afterwards.sinks_take:
            return 0.0
        choice = self._choice(agent.reachable())
        kept = await self._next() if choice is not None else None
        if choice is None or kept is None:
            return 0.0
        began_s = self._clock()
        await self._answer(agent, kept, choice)
        return max(self._clock() - began_s, 1e-6)

    def _choice(self, reachable: frozenset[Route]) -> Choice | None:
        """The most accurate way that is open: by a tier where one is reachable, fewest bytes among equals."""
        options = [option for option in self._plan() if option.choice.route in reachable]
        if not options and self._rules.alone:
            options = [option for option in self._plan() if option.choice.route is Route.DEVICE]
        best = max(options, key=lambda option: (option.accuracy, -option.payload_bytes), default=None)
        return None if best is None else best.choice

    async def _next(self) -> Kept | None:
        try:
            return await asyncio.to_thread(self._spool.best, self._afterwards.in_hand())
        except SpoolError as exc:
            self._afterwards.trouble = str(exc)
            return None

    async def _answer(self, agent: Agent, kept: Kept, choice: Choice) -> None:
        self._afterwards.begun(kept.key)
        captured = Captured(kept.name, self._clock(), kept.content, kept.key, kept=True)
        frame = agent.begin(captured, self._rules.allowed_s, late=True)
        frame.captured_at = kept.captured_at
        ended = asyncio.Event()
        frame.told = ended.set
        await self._carry_out(agent, frame, choice)
        await ended.wait()

    async def _carry_out(self, agent: Agent, frame: OpenFrame, choice: Choice) -> None:
        if not frame.ended:
            await agent.answer_late(frame, choice)
