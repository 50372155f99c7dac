"""Many short frames on one link: they wait where they can be overtaken, and the link is kept busy all the same."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

import pytest

from protocol import chunks
from protocol.chunks import Assembly, decode_chunk
from transport.uplink import Uplink
from transport.window import Window

CREDITS = 32


class Path:
    """An uplink of a rate and a delay, and a tier that takes its time; a caller always has as many frames unanswered
    as there are credits."""

    def __init__(self, rate: Callable[[float], float], delay_s: float, tier_s: float, size: int) -> None:
        self._rate, self._delay_s, self._tier_s, self._size = rate, delay_s, tier_s, size
        self.now_s = self._free_s = 0.0
        self.window = Window()
        self.queue = Uplink(self.window, lambda: self.now_s)
        self.queue.in_parts = True
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._number = 0
        self.deaf_until_s = 0.0
        """The tier reads nothing before."""
        self._assembly = Assembly()
        self.answered_bytes = 0
        self.longest_wait_s = 0.0
        for _ in range(CREDITS):
            self._offer()

    def run(self, until_s: float) -> None:
        """Let it go on to this moment, and measure afresh."""
        self.answered_bytes, self.longest_wait_s = 0, 0.0
        self._pump()
        while self._events and self._events[0][0] <= until_s:
            self.now_s, _, happen = heapq.heappop(self._events)
            happen()
            self._pump()

    def _offer(self) -> None:
        self._number += 1
        head = self._number.to_bytes(8, "big")
        self.queue.put_frame(self._number, head, bytes(self._size - 8), self.now_s, self.now_s + 10.0)

    def _pump(self) -> None:
        while found := self.queue._next():
            for data, _ in found:
                self.longest_wait_s = max(self.longest_wait_s, self._free_s - self.now_s)
                self._free_s = max(self._free_s, self.now_s) + len(data) / self._rate(self.now_s)
                self._at(self._free_s + self._delay_s, lambda data=data: self._arrive(data))  # type: ignore[misc]
        if len(self.queue) and (silent_in_s := self.window.silent_in_s(self.now_s)) > 0:
            self._at(self.now_s + silent_in_s + 1e-6, lambda: None)

    def _arrive(self, data: bytes) -> None:
        if self.now_s < self.deaf_until_s:
            self._at(self.deaf_until_s, lambda: self._arrive(data))
            return
        message: bytes | None = data
        if data[:1] == chunks.TAG:
            message = self._assembly.add(decode_chunk(data))
            count = self._assembly.received_bytes
            self._at(self.now_s + self._delay_s, lambda: self.window.received(count, self.now_s))
        if message is not None:
            number = int.from_bytes(message[:8], "big")
            self._at(self.now_s + self._tier_s + self._delay_s, lambda: self._answer(number))

    def _answer(self, number: int) -> None:
        frame = self.queue.ended(number)
        assert frame is not None
        if frame.whole:
            self.window.answered(frame.size, self.now_s - frame.put_s - self._tier_s, self.now_s)
        self.answered_bytes += frame.size
        self._offer()

    def _at(self, moment_s: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment_s, next(self._order), happen))


@pytest.mark.parametrize("size", [600, 4_000])
@pytest.mark.parametrize("tier_s", [0.002, 0.2])
@pytest.mark.parametrize("delay_s", [0.001, 0.1])
@pytest.mark.parametrize("rate", [2e4, 1.25e5, 1e7])
def test_little_waits_in_front_of_the_link_and_it_is_as_busy_as_credits_allow(
    rate: float, delay_s: float, tier_s: float, size: int
) -> None:
    path = Path(lambda _: rate, delay_s, tier_s, size)
    possible = min(rate, CREDITS * size / (2 * delay_s + tier_s + size / rate))
    span_s = 300 * size / possible
    path.run(span_s)
    path.run(2 * span_s)
    assert path.answered_bytes > 0.85 * span_s * possible
    assert path.longest_wait_s < bound_s(rate, delay_s)


def bound_s(rate: float, delay_s: float) -> float:
    """The product of rate and delay and half as much again; a chunk is of 4 KiB at least, and two may be on the way."""
    return 1.5 * 1.25 * (2 * delay_s + 0.01) + 0.03 + 6 * 4096 / rate


def test_a_link_that_becomes_thin_is_noticed() -> None:
    path = Path(lambda now_s: 1.25e6 if now_s < 3.0 else 5e4, 0.01, 0.005, 4_000)
    path.run(3.0)
    path.run(9.0)
    assert path.longest_wait_s > 1.0  # what one had believed
    path.run(15.0)
    assert path.longest_wait_s < bound_s(5e4, 0.01)


def test_a_tier_that_stops_for_a_while_is_not_taken_for_a_thin_link() -> None:
    path = Path(lambda now_s: 1.25e6, 0.01, 0.005, 4_000)
    path.run(3.0)
    before = path.window.rate
    path.deaf_until_s = 3.5
    path.run(8.0)
    assert before == pytest.approx(1.25e6, rel=0.1)
    assert path.window.rate == pytest.approx(1.25e6, rel=0.1)
    path.deaf_until_s = 8.5
    path.run(9.0)
    assert path.window.rate is not None
    assert path.window.rate > 1e6  # more for a moment, when what had piled up is confirmed all at once


def test_what_waits_leaves_to_a_tier_that_falls_silent_and_waits_again_when_it_speaks() -> None:
    """Or its silence would not be seen by whoever sent the frames, who takes them back at their deadline."""
    path = Path(lambda now_s: 1.25e5, 0.01, 0.005, 4_000)
    path.run(3.0)
    assert len(path.queue) > CREDITS // 2
    path.deaf_until_s = 5.0
    path.run(3.1)
    assert len(path.queue) > CREDITS // 2
    path.run(4.0)
    assert len(path.queue) == 0
    path.run(6.0)
    path.run(8.0)
    assert len(path.queue) > CREDITS // 2
    assert path.longest_wait_s < bound_s(1.25e5, 0.01)
