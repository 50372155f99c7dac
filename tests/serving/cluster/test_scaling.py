"""How many workers are wanted: closed loops with a cluster of known speed, in simulated time."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.cluster.scaling import Scaling, Seen, demand

COST_S = 0.05
"""What a frame costs a worker."""
PATIENCE_S = 0.5


def _play(rates: list[float], *, least: int = 1, most: int = 16, calm_s: float = 5.0) -> list[int]:
    """Workers second by second, where a worker is there a second after it is wanted and a queue is served in order."""
    scaling, workers, queue_s, played = Scaling(least, most, calm_s), least, 0.0, []
    for second, rate in enumerate(rates):
        offered = round(rate)
        room_s = workers * (1.0 + PATIENCE_S) - queue_s  # work that can be in time
        taken = min(offered, math.floor(room_s / COST_S))
        busy_s = min(float(workers), queue_s + taken * COST_S)
        queue_s += taken * COST_S - busy_s
        seen = Seen(1.0, busy_s, offered, offered - taken, queue_s / workers, workers)
        workers = scaling.decide(seen, second + 1.0)
        played.append(workers)
    return played


@pytest.mark.parametrize("rate", [10, 40, 100, 200])
def test_a_steady_load_gets_what_it_needs_with_a_reserve_and_no_more(rate: float) -> None:
    needed = rate * COST_S / 0.75
    assert _play([rate] * 30)[-1] in (math.ceil(needed), math.ceil(needed) + 1)


def test_a_load_of_sixteen_times_what_is_there_is_met_within_four_seconds() -> None:
    played = _play([10] * 10 + [240] * 10)
    assert played[9] == 1
    assert played[13] >= 240 * COST_S


def test_frames_that_could_not_be_in_time_ask_for_workers_though_all_that_are_there_were_busy_already() -> None:
    calm = Seen(1.0, 2.0, 100, 0, 0.0, 2)
    short = Seen(1.0, 2.0, 200, 100, 0.0, 2)
    assert demand(short) == pytest.approx(2 * demand(calm))


def test_a_queue_asks_for_the_workers_that_drain_it_in_a_second() -> None:
    assert demand(Seen(1.0, 2.0, 100, 0, 0.5, 2)) == pytest.approx(2.0 + 1.0)


def test_workers_are_given_back_only_after_a_calm_while() -> None:
    played = _play([100] * 10 + [0] * 10, calm_s=5.0)
    busy = played[9]
    assert played[10:15] == [busy] * 5
    assert played[-1] == 1


def test_pauses_between_bursts_change_nothing() -> None:
    played = _play([100, 0, 0] * 10, calm_s=5.0)
    assert set(played[3:]) == {max(played)}


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.floats(0, 1e3), st.integers(0, 1000), st.integers(0, 1000), st.floats(0, 1e6)), max_size=30),
    st.integers(1, 5),
    st.integers(0, 20),
)
def test_the_bounds_are_kept_whatever_is_seen(
    seconds: list[tuple[float, int, int, float]], least: int, more: int
) -> None:
    scaling = Scaling(least, least + more, 3.0)
    for at_s, (busy_s, offered, turned_away, wait_s) in enumerate(seconds):
        seen = Seen(1.0, busy_s, offered, turned_away, wait_s, 3)
        assert least <= scaling.decide(seen, float(at_s)) <= least + more
