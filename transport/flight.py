"""Messages on their way in datagrams: what to send at once, what to add when no word comes, when to give up."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from protocol.erasure import MOST_ROWS
from protocol.fragments import Cut, Note
from transport.redundancy import Loss, parts_for

NOTE_DELAY_S: Final = 0.01
"""A receiver waits so long with its note, so that it goes with an answer where one comes soon."""
_FIRST_WAIT_S: Final = 0.3
_LEAST_WAIT_S: Final = 0.03
_LONGEST_WAIT_S: Final = 3.0
_GROWTH: Final = 1.5
_MOST_ADDITIONS: Final = 4
"""For a message without a deadline; then it goes another way."""
_QUEUEING: Final = 2.0
_QUEUEING_S: Final = 0.05
"""Longer trips than so many of the shortest and so many seconds are taken for waiting."""


class Launched(NamedTuple):
    """A message's number and its first datagrams."""

    number: int
    datagrams: list[bytes]


class Added(NamedTuple):
    """More datagrams for a message of which nothing is known."""

    number: int
    datagrams: list[bytes]


class GivenUp(NamedTuple):
    """No more is sent of a message: its time has passed, or enough was tried."""

    number: int
    message: bytes
    is_late: bool


@dataclass(slots=True)
class _Underway:
    message: bytes
    cut: Cut
    needed: int
    rows: int
    """Sent so far: rows 0 to `rows - 1`."""
    due_s: float
    launched_s: float
    sent_count: int
    """Fragments of all messages up to and with this one."""
    again_s: float
    wait_s: float
    additions: int = 0


class Flight:
    """Belongs to one stream. The waiting time follows the round trip and its variation, as TCP's does (RFC 6298).

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.loss = Loss()
        self._clock = clock
        self._underway: dict[int, _Underway] = {}
        self._number = 0
        self._sent = 0
        self._trip_s = 0.0
        self._shortest_s = math.inf
        self._variation_s = 0.0

    def __len__(self) -> int:
        return len(self._underway)

    @property
    def next_s(self) -> float:
        """When `overdue` has something to say, if nothing is heard; infinite if never."""
        return min((min(one.again_s, one.due_s) for one in self._underway.values()), default=math.inf)

    def launch(self, message: bytes, due_s: float, *, spare: bool = True) -> Launched:
        """A new message.

        Args:
            due_s: from then on it is of no use; infinite if it always is.
            spare: whether it is worth redundancy.
        """
        needed, further = parts_for(len(message), self.loss.percent if spare and not self._is_queueing else 0)
        self._number += 1
        self._sent += needed + further
        cut, now_s, wait_s = Cut(self._number, message, needed), self._clock(), self._wait_s()
        self._underway[self._number] = _Underway(
            message, cut, needed, needed + further, due_s, now_s, self._sent, now_s + wait_s, wait_s
        )
        return Launched(self._number, [cut.fragment(row) for row in range(needed + further)])

    def noted(self, note: Note) -> list[int]:
        """The messages that are now known to have come."""
        now_s = self._clock()
        landed = [number for number in note.complete if number in self._underway]
        for number in landed:
            one = self._underway.pop(number)
            if not one.additions:
                self._learn(now_s - one.launched_s)
            self.loss.counted(one.sent_count, note.received)
        return landed

    def landed(self, number: int) -> bool:
        """A message was answered, so it has come; whether that was news."""
        return self._underway.pop(number, None) is not None

    def not_sent(self, count: int) -> None:
        """So many fragments were taken back before they left."""
        self._sent -= count

    def overdue(self, has_not_left: Callable[[int], bool] = lambda _: False) -> Iterator[Added | GivenUp]:
        """What to do about the messages of which nothing was heard in time.

        Args:
            has_not_left: whether some of a message still waits on this side; then nothing is added to it yet.
        """
        now_s = self._clock()
        for number, one in list(self._underway.items()):
            is_late = now_s >= one.due_s
            tried = one.due_s == math.inf and one.additions >= _MOST_ADDITIONS
            if is_late or (now_s >= one.again_s and (tried or one.rows >= MOST_ROWS)):
                del self._underway[number]
                yield GivenUp(number, one.message, is_late)
            elif now_s >= one.again_s and has_not_left(number):
                one.again_s = now_s + one.wait_s
            elif now_s >= one.again_s:
                yield Added(number, self._more(one, now_s))

    def _more(self, one: _Underway, now_s: float) -> list[bytes]:
        """As many further rows as are likely missing: half of what is needed, and one for the loss."""
        rows = range(one.rows, min(one.rows + one.needed // 2 + 1, MOST_ROWS))
        one.additions += 1
        one.rows = rows.stop
        one.wait_s = min(one.wait_s * _GROWTH, _LONGEST_WAIT_S)
        one.again_s = now_s + one.wait_s
        self._sent += len(rows)
        return [one.cut.fragment(row) for row in rows]

    def _wait_s(self) -> float:
        if not self._trip_s:
            return _FIRST_WAIT_S
        return min(max(self._trip_s + 4 * self._variation_s, _LEAST_WAIT_S), _LONGEST_WAIT_S) + NOTE_DELAY_S

    @property
    def _is_queueing(self) -> bool:
        """Whether messages wait on their way: then losses are those of full queues, and redundancy would fill them."""
        return self._trip_s > _QUEUEING * self._shortest_s + _QUEUEING_S

    def _learn(self, trip_s: float) -> None:
        self._shortest_s = min(self._shortest_s, trip_s)
        if not self._trip_s:
            self._trip_s, self._variation_s = trip_s, trip_s / 2
            return
        self._variation_s += (abs(trip_s - self._trip_s) - self._variation_s) / 4
        self._trip_s += (trip_s - self._trip_s) / 8
