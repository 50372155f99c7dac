"""Each condition of packets against what it is defined to do; times are numbers, nothing waits."""

from __future__ import annotations

import random
import statistics
from collections import Counter, deque
from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from testbed.packets.conditions import AnyCondition, Condition, Corrupt, Rate
from testbed.packets.packet import Packet
from testbed.packets.path import PacketPath
from testbed.packets.settings import Settings

HEADER = bytes([0x45]) + bytes(19)
"""Of an IPv4 packet without options."""
FOREVER_S = 1e9

_CONDITION: TypeAdapter[Condition] = TypeAdapter(AnyCondition)


def made(kind: str, **keys: float) -> Condition:
    return _CONDITION.validate_python({"kind": kind, **keys})


def numbered(count: int, gap_s: float = 0.01, size: int = 100) -> list[Packet]:
    """Packets that carry their number."""
    return [Packet(HEADER + number.to_bytes(4, "big") + bytes(size - 24), number * gap_s) for number in range(count)]


def played(packets: list[Packet], *conditions: Condition, seed: int = 7) -> list[Packet]:
    path = PacketPath(conditions, seed)
    for packet in packets:
        path.enter(packet)
    return path.arrived(FOREVER_S)


def number_of(packet: Packet) -> int:
    return int.from_bytes(packet.data[20:24], "big")


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.5, 1.0])
def test_loss_is_within_half_a_point_of_its_share(share: float) -> None:
    sent = [Packet(HEADER, 0.0)] * 30_000
    lost = 1 - len(played(sent, made("loss", share=share))) / len(sent)
    assert abs(lost - share) <= 0.005


def test_losses_of_a_share_are_independent_of_one_another() -> None:
    arrived = {number_of(packet) for packet in played(numbered(20_000), made("loss", share=0.2))}
    after_a_loss = [number + 1 in arrived for number in range(19_999) if number not in arrived]
    assert abs(sum(after_a_loss) / len(after_a_loss) - 0.8) <= 0.015


def test_bursts_have_their_share_and_their_length() -> None:
    sent = numbered(30_000)
    arrived = {number_of(packet) for packet in played(sent, made("bursts", bad=0.1, burst=5))}
    runs = [len(list(run)) for lost, run in groupby(number not in arrived for number in range(len(sent))) if lost]
    assert abs(sum(runs) / len(sent) - 0.1) <= 0.01
    assert abs(sum(runs) / len(runs) - 5) <= 0.5


def test_bursts_lose_in_both_states_what_they_are_told() -> None:
    sent = numbered(30_000)
    arrived = played(sent, made("bursts", bad=0.25, burst=8, loss_in_bad=0.4, loss_in_good=0.04))
    assert abs(1 - len(arrived) / len(sent) - (0.25 * 0.4 + 0.75 * 0.04)) <= 0.01


def test_bursts_too_short_for_their_share_are_refused() -> None:
    with pytest.raises(ValidationError, match="at least 9 packets"):
        made("bursts", bad=0.9, burst=2)


def test_a_delay_is_added_to_each_packet() -> None:
    sent = numbered(50)
    assert [packet.at_s for packet in played(sent, made("delay", delay_s=0.25))] == [at_s + 0.25 for _, at_s in sent]


def test_jitter_is_exponential_and_lets_packets_overtake() -> None:
    sent = numbered(20_000)
    arrived = played(sent, made("jitter", mean_s=0.02))
    late = [packet.at_s - sent[number_of(packet)].at_s for packet in arrived]
    assert abs(statistics.mean(late) - 0.02) <= 0.0005
    assert abs(statistics.median(late) - 0.02 * 0.6931) <= 0.0005
    order = [number_of(packet) for packet in arrived]
    assert sorted(order) == list(range(20_000)) != order


def test_reordered_packets_are_held_back_by_their_time() -> None:
    sent = numbered(10_000)
    arrived = played(sent, made("reorder", share=0.05, by_s=0.035))
    held = Counter(round(packet.at_s - sent[number_of(packet)].at_s, 6) for packet in arrived)
    assert set(held) == {0.0, 0.035}
    assert abs(held[0.035] / len(sent) - 0.05) <= 0.01


def test_duplicates_are_copies_and_as_many_as_their_share() -> None:
    sent = numbered(20_000)
    counts = Counter(played(sent, made("duplicate", share=0.1)))
    assert set(counts) == set(sent)
    assert set(counts.values()) == {1, 2}
    assert abs(sum(counts.values()) / len(sent) - 1.1) <= 0.01


def test_corruption_turns_one_bit_behind_the_header() -> None:
    sent = numbered(2_000)
    arrived = played(sent, made("corrupt", share=0.3))
    turned = [
        (int.from_bytes(before.data, "big") ^ int.from_bytes(after.data, "big")).bit_count()
        for before, after in zip(sent, arrived, strict=True)
    ]
    assert set(turned) == {0, 1}
    assert abs(sum(turned) / len(turned) - 0.3) <= 0.04
    assert all(packet.data[:20] == HEADER for packet in arrived)


def test_packets_leave_a_bottleneck_at_its_rate() -> None:
    sent = [Packet(HEADER + bytes(1480), 0.0)] * 40
    arrived = played(sent, made("rate", rate_bps=1_200_000, queue_bytes=1 << 20))
    assert [packet.at_s for packet in arrived] == pytest.approx([0.01 * (place + 1) for place in range(40)])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(60, 1500)), min_size=1, max_size=80))
def test_a_full_queue_drops_what_comes_as_a_clocked_simulation_does(arrivals: list[tuple[int, int]]) -> None:
    """At 8 kbit/s a byte takes a millisecond: the other simulation counts them one by one."""
    at_ms, sent = 0, []
    for gap_ms, size in arrivals:
        at_ms += 10 * gap_ms
        sent.append(Packet(HEADER + bytes(size - 20), at_ms / 1000))
    arrived = played(sent, made("rate", rate_bps=8000, queue_bytes=3000))
    assert [round(packet.at_s * 1000) for packet in arrived] == _clocked_ms(sent, most_bytes=3000)


def _clocked_ms(sent: list[Packet], most_bytes: int) -> list[int]:
    coming = deque((round(at_s * 1000), len(data)) for data, at_s in sent)
    queue: deque[int] = deque()
    sizes: deque[int] = deque()
    left, now_ms = [], 0
    while coming or queue:
        while coming and coming[0][0] == now_ms:
            size = coming.popleft()[1]
            if sum(sizes) + size <= most_bytes:
                queue.append(size)
                sizes.append(size)
        now_ms += 1
        if queue:
            queue[0] -= 1
            if not queue[0]:
                queue.popleft()
                sizes.popleft()
                left.append(now_ms)
    return left


def everything() -> list[Condition]:
    return [
        made("bursts", bad=0.05, burst=3),
        made("rate", rate_bps=1e6),
        made("duplicate", share=0.05),
        made("corrupt", share=0.05),
        made("delay", delay_s=0.03),
        made("reorder", share=0.1, by_s=0.02),
        made("jitter", mean_s=0.005),
    ]


def test_the_same_seed_gives_the_same_packets_and_another_gives_others() -> None:
    sent = numbered(500)
    assert played(sent, *everything()) == played(sent, *everything())
    assert played(sent, *everything()) != played(sent, *everything(), seed=8)


def test_one_more_condition_changes_no_draw_of_those_before_it() -> None:
    sent = numbered(2_000)
    first = played(sent, made("loss", share=0.3))
    both = played(sent, made("loss", share=0.3), made("delay", delay_s=1.0), made("corrupt", share=0.5))
    assert [packet.at_s for packet in both] == [packet.at_s + 1.0 for packet in first]


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1 << 32), order=st.randoms(use_true_random=False))
def test_nothing_arrives_before_it_was_sent_or_out_of_order(seed: int, order: random.Random) -> None:
    conditions = [condition for condition in everything() if not isinstance(condition, Rate | Corrupt)]
    order.shuffle(conditions)
    sent = numbered(100)
    arrived = played(sent, *conditions, seed=seed)
    assert all(packet.at_s >= sent[number_of(packet)].at_s + 0.03 for packet in arrived)
    assert [packet.at_s for packet in arrived] == sorted(packet.at_s for packet in arrived)


def test_packets_are_told_when_they_are_due_and_once() -> None:
    path = PacketPath([made("delay", delay_s=1.0)])
    path.enter(Packet(HEADER, 5.0))
    assert path.next_s == 6.0
    assert path.arrived(5.9) == []
    assert path.arrived(6.0) == [Packet(HEADER, 6.0)]
    assert path.arrived(7.0) == []
    assert path.next_s == float("inf")


def test_a_bottleneck_behind_a_condition_that_disorders_is_refused() -> None:
    rate, jitter = {"kind": "rate", "rate_bps": 1e6}, {"kind": "jitter", "mean_s": 0.01}
    assert len(Settings(uplink=(rate, jitter)).uplink) == 2  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="rate stands behind jitter"):
        Settings(uplink=(jitter, rate))  # type: ignore[arg-type]


def test_a_misspelt_kind_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValidationError, match="did you mean 'bursts'"):
        made("burst", bad=0.1, burst=3)
