"""The window against a simulated link: a queue of known rate in front of a known delay."""

from __future__ import annotations

import heapq
from collections.abc import Callable

import pytest

from transport.window import Window


class Link:
    """Carries chunks one after the other, and confirms each when it has arrived and the confirmation is back."""

    def __init__(self, rate: Callable[[float], float], delay_s: float) -> None:
        self._rate, self._delay_s = rate, delay_s
        self.now_s = self._free_s = 0.0
        self._confirmations: list[tuple[float, int]] = []
        self._sent = self.delivered = 0
        self.longest_wait_s = 0.0

    def run(self, window: Window, until_s: float, left: int = 1 << 40) -> None:
        """Send long frames for as long as there are bytes left to send."""
        while self.now_s < until_s and (left > 0 or self._confirmations):
            while left > 0 and window.has_room_for(size := min(window.chunk_bytes, left)):
                left -= size
                self._sent += size
                window.sent(size, self.now_s)
                self.longest_wait_s = max(self.longest_wait_s, self._free_s - self.now_s)
                self._free_s = max(self._free_s, self.now_s) + size / self._rate(self.now_s)
                heapq.heappush(self._confirmations, (self._free_s + 2 * self._delay_s, self._sent))
            self.now_s, count = heapq.heappop(self._confirmations)
            self.delivered = count
            window.received(count, self.now_s)


@pytest.mark.parametrize("delay_s", [0.0001, 0.01, 0.1])
@pytest.mark.parametrize("rate", [1e4, 1.25e5, 2.5e6])
def test_the_link_is_kept_busy_and_little_waits_in_front_of_it(rate: float, delay_s: float) -> None:
    window, link = Window(), Link(lambda _: rate, delay_s)
    link.run(window, 15.0)
    begun, link.longest_wait_s = link.delivered, 0.0
    link.run(window, 55.0)
    assert link.delivered - begun > 0.9 * 40.0 * rate
    chunk_s = window.chunk_bytes / rate
    round_trip_s = 2 * delay_s + chunk_s
    assert link.longest_wait_s < 1.25 * round_trip_s + 0.01 + 2 * chunk_s
    assert window.rate == pytest.approx(rate, rel=0.05)


@pytest.mark.parametrize("frame_bytes", [16_500, 25_000, 62_208])
@pytest.mark.parametrize("delay_s", [0.005, 0.02, 0.2])
@pytest.mark.parametrize("rate", [1e6, 7.5e6, 1e9])
def test_frames_with_pauses_between_them_soon_take_no_longer_than_rate_and_delay_say(
    rate: float, delay_s: float, frame_bytes: int
) -> None:
    window, link, taken = Window(), Link(lambda _: rate, delay_s), 0.0
    for number in range(20):
        link.now_s = began_s = 2.0 * number
        link.run(window, began_s + 2.0, left=frame_bytes)
        taken = link.now_s - began_s
    assert taken == pytest.approx(frame_bytes / rate + 2 * delay_s, rel=0.02)


def test_a_link_that_becomes_thin_or_wide_is_followed() -> None:
    window = Window()
    link = Link(lambda now_s: 1.25e5 if 10 < now_s < 25 else 1.25e7, 0.01)
    link.run(window, 10.0)
    assert window.chunk_bytes > 100_000
    link.run(window, 20.0)
    assert window.rate == pytest.approx(1.25e5, rel=0.05)
    assert window.chunk_bytes < 5_000
    link.longest_wait_s = 0.0
    link.run(window, 24.5)
    assert link.longest_wait_s < 0.1
    link.run(window, 30.0)
    assert window.rate == pytest.approx(1.25e7, rel=0.05)


def test_a_pause_is_not_taken_for_a_thin_link() -> None:
    window, link = Window(), Link(lambda _: 1.25e6, 0.005)
    link.run(window, 60.0, left=500_000)
    window.answered(0, 1.0, link.now_s)
    link.now_s = link._free_s = 100.0
    link.run(window, 160.0, left=500_000)
    assert window.rate == pytest.approx(1.25e6, rel=0.1)


def test_frames_sent_whole_teach_the_rate_too() -> None:
    window = Window()
    window.answered(100, 0.1, 1.0)
    assert window.rate is None
    window.answered(100_000, 0.1, 1.0)
    assert window.rate == pytest.approx(1e6)


def test_confirmations_that_cannot_be_are_ignored() -> None:
    window = Window()
    window.sent(1000, 0.0)
    for count in (0, 1001, 2**63):
        window.received(count, 0.1)
    assert window.rate is None
    window.received(1000, 0.1)
    window.received(1000, 0.2)
    assert window.rate == pytest.approx(10_000)
