"""CoDel against what RFC 8289 promises; times are numbers, nothing waits."""

from __future__ import annotations

import math
from collections import deque
from itertools import pairwise

import pytest

from testbed.link.capacity import constant
from testbed.packets.conditions import Rate
from testbed.packets.packet import Packet
from testbed.packets.path import PacketPath
from testbed.packets.queues import CoDel, Discipline
from testbed.packets.queues.server import serving

SIZE = 1500
SERVICE_S = 0.001
"""Of one packet at the rate of these tests."""
RATE_BPS = SIZE * 8 / SERVICE_S


def offered(gap_s: float, seconds: float) -> list[Packet]:
    return [
        Packet(number.to_bytes(4, "big") + bytes(SIZE - 4), number * gap_s) for number in range(int(seconds / gap_s))
    ]


def through(packets: list[Packet], queue_bytes: int = 1 << 24) -> tuple[CoDel, list[Packet]]:
    queue = CoDel(serving(constant(RATE_BPS)), queue_bytes)
    left = [after for packet in packets for after in queue(packet)]
    return queue, [*left, *queue.released(math.inf if not packets else packets[-1].at_s + 1e6)]


def number_of(packet: Packet) -> int:
    return int.from_bytes(packet.data[:4], "big")


def waits_s(sent: list[Packet], left: list[Packet]) -> list[float]:
    """From arrival to the beginning of the packet's own transmission."""
    return [packet.at_s - SERVICE_S - sent[number_of(packet)].at_s for packet in left]


def test_a_link_that_keeps_up_drops_nothing_and_delays_nobody() -> None:
    sent = offered(1.5 * SERVICE_S, 3)
    queue, left = through(sent)
    assert queue.dropped == 0
    assert max(waits_s(sent, left)) == pytest.approx(0, abs=1e-9)


def test_a_burst_that_is_gone_within_an_interval_is_let_through_whole() -> None:
    sent = [Packet(number.to_bytes(4, "big") + bytes(SIZE - 4), 0.0) for number in range(95)]
    queue, left = through(sent)
    assert queue.dropped == 0
    assert [packet.at_s for packet in left] == pytest.approx([SERVICE_S * (place + 1) for place in range(95)])


def test_drops_under_a_standing_queue_come_as_the_control_law_has_them() -> None:
    """The n-th pause between two drops is the interval over the root of n, to the resolution of one packet."""
    sent = offered(SERVICE_S / 1.2, 2.0)
    queue, left = through(sent)
    kept = {number_of(packet) for packet in left}
    # A packet is dropped when its turn comes, which is when the one let through just before it has left.
    at_s, drops = 0.0, []
    leaves = {number_of(packet): packet.at_s for packet in left}
    for packet in sent:
        if number_of(packet) in kept:
            at_s = leaves[number_of(packet)]
        else:
            drops.append(at_s)
    pauses = [later - earlier for earlier, later in pairwise(drops)]
    assert len(drops) == queue.dropped > 20
    due_s = drops[0]
    for count, dropped_s in enumerate(drops[1:20], start=1):
        due_s += 0.1 / math.sqrt(count)
        assert due_s <= dropped_s + 1e-9 <= due_s + 2 * SERVICE_S
    assert pauses[0] > 3 * pauses[15]


def test_the_first_drop_comes_an_interval_after_waits_have_grown_beyond_the_target() -> None:
    sent = offered(SERVICE_S / 1.2, 1.0)
    _, left = through(sent)
    kept = {number_of(packet) for packet in left}
    first = next(number for number in range(len(sent)) if number not in kept)
    waits = dict(zip(map(number_of, left), waits_s(sent, left), strict=True))
    above = next(number for number in range(len(sent)) if waits[number] >= 0.005)
    begun_s = sent[above].at_s + waits[above]
    dropped_s = sent[first - 1].at_s + waits[first - 1] + SERVICE_S
    assert dropped_s - begun_s == pytest.approx(0.1, abs=2 * SERVICE_S)


def mean_wait_s(discipline: Discipline, seconds: float = 8.0, way_back_s: float = 0.05) -> float:
    """Of the packets of a sender whose window grows by one for each round trip and is halved by a loss, as TCP's is."""
    path = PacketPath([Rate(kind="rate", rate_bps=RATE_BPS, queue_bytes=300 * SIZE, queue=discipline)])
    flying: dict[int, float] = {}
    acknowledged: deque[tuple[float, int]] = deque()
    window, halved_s, now_s, number, waits = 10.0, 0.0, 0.0, 0, []
    while now_s < seconds:
        while len(flying) < window:
            path.enter(Packet(number.to_bytes(4, "big") + bytes(SIZE - 4), now_s))
            flying[number] = now_s
            number += 1
        now_s = min(path.next_s, acknowledged[0][0] if acknowledged else math.inf)
        for packet in path.arrived(now_s):
            acknowledged.append((packet.at_s + way_back_s, number_of(packet)))
            waits.append(packet.at_s - SERVICE_S - flying[number_of(packet)])
        while acknowledged and acknowledged[0][0] <= now_s:
            newest = acknowledged.popleft()[1]
            lost = [one for one in flying if one < newest]
            for one in (*lost, newest):
                del flying[one]
            window += 1 / window
            if lost and now_s > halved_s + 2 * way_back_s:
                window, halved_s = max(window / 2, 2.0), now_s
    return sum(waits) / len(waits)


def test_a_sender_that_slows_down_when_it_loses_waits_little_behind_it_and_long_behind_drop_tail() -> None:
    managed_s = mean_wait_s("codel")
    assert managed_s < 0.02
    assert mean_wait_s("drop-tail") > 5 * managed_s


def test_the_last_packet_of_a_queue_is_not_dropped_however_slow_the_link() -> None:
    queue = CoDel(serving(constant(SIZE * 8 / 0.2)), 1 << 20)
    left = [after for number in range(50) for after in queue(Packet(bytes(SIZE), number // 2 * 0.45))]
    left += queue.released(1e9)
    assert queue.dropped == 0
    assert len(left) == 50


def test_what_finds_the_queue_full_is_lost_at_once() -> None:
    sent = [Packet(bytes(SIZE), 0.0)] * 20
    _, left = through(sent, queue_bytes=4 * SIZE)
    assert len(left) == 5


def test_packets_are_decided_on_as_time_passes_and_not_before() -> None:
    path = PacketPath([Rate(kind="rate", rate_bps=RATE_BPS, queue="codel")])
    for _ in range(3):
        path.enter(Packet(bytes(SIZE), 1.0))
    assert path.next_s == pytest.approx(1 + SERVICE_S)
    assert path.arrived(1.0) == []
    assert [packet.at_s for packet in path.arrived(1 + 2.5 * SERVICE_S)] == pytest.approx(
        [1 + SERVICE_S, 1 + 2 * SERVICE_S]
    )
    assert path.next_s == pytest.approx(1 + 3 * SERVICE_S)
