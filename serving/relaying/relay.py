"""Decides, for each frame that is to be passed up, where it leaves this tier and at which level."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from math import inf
from typing import Final, TypeAlias

from protocol.messages import Frame, Handover, Refusal, Result
from runtime.manifest import RawLevel, ZstdLevel
from serving.passage import Passage
from serving.relaying.prediction import Way, expected_s, quickest
from serving.relaying.upstreams import Upstreams
from serving.served import Served
from serving.workers import Workers

_FRESH_S: Final = 0.02
"""A decision serves all frames like the one that it was made for, for so long."""
_SHARE_OF_NEWEST: Final = 0.1
_MOST_KEPT: Final = 1024
TRIED_AFTER_S: Final = 1.0
"""What is above is asked at least so often: what nobody measures, nobody sees getting better."""


RelayMaker: TypeAlias = Callable[[Upstreams, Workers, Callable[[], float]], "Relay"]
"""From the tiers above, the workers of this one, and its clock."""


@dataclass(frozen=True, slots=True)
class _Decided:
    handover: Handover | None
    until_s: float


class Relay:
    """The goal `latency`: the quickest way of a frame with a handover, of those that keep the accuracy it asked for.

    Considered are: what the frame asks for, every level of every cut from the frame's own on whose measured accuracy is
    not lower by more than may be lost, and finishing the frame here. How long each should take follows from what was
    measured: the learnt cost of the steps here, the belief about the link to the tier above, its hint about waiting,
    and how its speed compares to this tier's. Once in a while a frame goes up whatever is believed.

    Args:
        upstreams: the tiers above.
        workers: know what steps cost here.
        clock: monotonic seconds.
        accuracy_loss: how much of the accuracy of what the frame asks for may be given up, 0 to 1.
    """

    def __init__(
        self, upstreams: Upstreams, workers: Workers, clock: Callable[[], float], *, accuracy_loss: float = 0.0
    ) -> None:
        self._upstreams = upstreams
        self._workers = workers
        self._clock = clock
        self._loss = accuracy_loss
        self._bytes: dict[tuple[int, int, int], float] = {}
        """By bundle, cut and level, of what was encoded here."""
        self._slower = 0.0
        """How many times as long the tiers above take for the same work; none, until that is known."""
        self._asked_s = -inf
        self._decided: dict[tuple[int, int, int, Handover], _Decided] = {}

    def choose(self, frame: Frame, served: Served, asked: Handover | None, deadline_s: float = inf) -> Handover | None:
        """Where to hand a frame over; None to finish it here.

        Args:
            frame: as it came.
            served: its bundle.
            asked: where it wants to be handed over. One that does not is finished here.
            deadline_s: when its time is over.
        """
        if asked is None:
            return None
        key = (frame.bundle, frame.cut, frame.level, asked)
        now_s = self._clock()
        decided = self._decided.get(key)
        if decided is None or now_s >= decided.until_s:
            if len(self._decided) >= _MOST_KEPT:
                self._decided.clear()
            decided = self._decided[key] = _Decided(self._quickest(frame, served, asked, now_s), now_s + _FRESH_S)
        if decided.handover is not None:
            self._asked_s = now_s
        return decided.handover

    def expect(self, models: Collection[str]) -> None:
        """These models are served.

        Raises:
            WorthOfNone: the settings name another one.
        """

    def score(self, frame: Frame, served: Served, deadline_s: float) -> float:
        """What is lost if a frame is not answered here; see `Job`. Here: nothing is weighed against another."""
        return 0.0

    def idle_until_s(self, frame: Frame, served: Served, deadline_s: float) -> float | None:
        """Until when a frame that there is no time for may wait for an idle moment; None: not at all."""
        return None

    def goes_up(self, frame: Frame, served: Served, deadline_s: float) -> bool:
        """Whether a frame that there is no time for here is passed up as it came; otherwise it is refused."""
        return self._clock() + self._up_s(frame, served) <= deadline_s

    def ended(self, passage: Passage, served: Served, answer: Result | Refusal) -> None:
        """A frame has ended."""

    def explained(self) -> dict[str, object]:
        """For a person: what came of it by model, where that is counted."""
        return {}

    def encoded(self, frame: Frame, handover: Handover, payload_bytes: int) -> None:
        """A frame was encoded for its way up: remember how long that is."""
        key = (frame.bundle, handover.cut, handover.level)
        known = self._bytes.setdefault(key, float(payload_bytes))
        self._bytes[key] = known + _SHARE_OF_NEWEST * (payload_bytes - known)

    def answered(self, served: Served, handover: Handover, result: Result) -> None:
        """A tier above ran the rest of a frame: compare its time with what this one would take."""
        own_s = self._workers.estimate_s(served.between(handover.cut, handover.level))
        above_s = 1e-6 * (result.timings.decode_us + result.timings.run_us)
        if own_s > 0 and above_s > 0:
            share = _SHARE_OF_NEWEST if self._slower else 1.0
            self._slower += share * (above_s / own_s - self._slower)

    def _up_s(self, frame: Frame, served: Served) -> float:
        """How long it should take until the answer to a frame that goes up as it came is here."""
        upstream = self._upstreams.best(len(frame.payload))
        if upstream is None:
            return inf
        way = self._way(frame, served, Handover(frame.cut, frame.level), 0.0)
        return float(expected_s([way], upstream.link(), upstream.wait_s(), self._clock())[0])

    def _quickest(self, frame: Frame, served: Served, asked: Handover, now_s: float) -> Handover | None:
        upstream = self._upstreams.best(len(frame.payload))
        if upstream is None:
            return None
        wait_s = self._workers.wait_s
        ways = [self._way(frame, served, handover, wait_s) for handover in _handovers(frame, served, asked, self._loss)]
        if now_s - self._asked_s < TRIED_AFTER_S:
            finish = served.between(frame.cut, served.stored(frame))
            ways.append(Way(None, wait_s + self._workers.estimate_s(finish)))
        return quickest(ways, expected_s(ways, upstream.link(), upstream.wait_s(), now_s)).handover

    def _way(self, frame: Frame, served: Served, handover: Handover, wait_s: float) -> Way:
        above_s = self._slower * self._workers.estimate_s(served.between(handover.cut, handover.level))
        if handover == Handover(frame.cut, frame.level):
            return Way(handover, 0.0, len(frame.payload), above_s)
        path = served.between(frame.cut, served.stored(frame), handover)
        payload_bytes = self._payload_bytes(frame.bundle, served, handover)
        return Way(handover, wait_s + self._workers.estimate_s(path), payload_bytes, above_s)

    def _payload_bytes(self, tag: int, served: Served, handover: Handover) -> float:
        """What was seen, or else the bundle's own measurement, or else the most that it can be."""
        seen = self._bytes.get((tag, handover.cut, handover.level))
        if seen is not None:
            return seen
        measured = served.bundle.manifest.cuts[handover.cut].levels[handover.level].measured
        codec = served.codecs.at(handover.cut, handover.level)
        return codec.max_payload_bytes if measured is None else measured.payload_bytes


def _handovers(frame: Frame, served: Served, asked: Handover, loss: float) -> list[Handover]:
    """What the frame asks for, then all others that keep its accuracy.

    What a frame has lost by its own level, and what it loses when it is encoded anew, are taken to add up.
    """
    manifest = served.bundle.manifest
    whole = 1.0 if manifest.measured is None else manifest.measured.accuracy
    came = Handover(frame.cut, frame.level)

    def lost(handover: Handover) -> float | None:
        level = manifest.cuts[handover.cut].levels[handover.level]
        if isinstance(level, RawLevel | ZstdLevel):
            return 0.0
        return None if level.measured is None else whole - level.measured.accuracy

    def lost_more(handover: Handover) -> float | None:
        """Beyond what the frame has lost as it came."""
        return 0.0 if handover == came else lost(handover)

    most = lost_more(asked)
    if most is None:
        return [asked]
    others = [Handover(cut.index, level) for cut in manifest.cuts[frame.cut :] for level in range(len(cut.levels))]
    kept = [(handover, lost_more(handover)) for handover in others if handover != asked]
    return [asked, *(handover for handover, less in kept if less is not None and less <= most + loss)]
