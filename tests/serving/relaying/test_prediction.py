"""What each way of going on should take, against sums done by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from protocol.messages import Handover
from serving.relaying.prediction import OVERHEAD_BYTES, Way, expected_s, quickest
from tests.serving.relaying.links import sure

UP = Handover(1, 0)


def test_a_way_takes_its_work_its_bytes_the_round_trip_and_the_work_above() -> None:
    way = Way(UP, here_s=0.002, payload_bytes=10_000 - OVERHEAD_BYTES, above_s=0.003)
    (found,) = expected_s([way], sure(8e6, rtt_s=0.02), above_wait_s=0.005, now_s=100.0)
    assert found == pytest.approx(0.002 + 0.010 + 0.02 + 0.005 + 0.003)


def test_finishing_here_takes_its_work_alone() -> None:
    (found,) = expected_s([Way(None, 0.25)], sure(1e3), above_wait_s=1.0, now_s=5.0)
    assert found == pytest.approx(0.25)


def test_work_here_overlaps_with_what_is_still_queued_on_the_link() -> None:
    link = sure(8e6, rtt_s=0.0, free_s=10.5)
    at_once, after_work = expected_s([Way(UP, 0.0, 900.0), Way(UP, 0.3, 900.0)], link, 0.0, now_s=10.0)
    assert at_once == pytest.approx(0.5 + 0.001)
    assert after_work == pytest.approx(at_once)


def test_a_dead_link_costs_no_more_than_the_time_after_which_it_is_given_up() -> None:
    dead = replace(sure(1e6, rtt_s=0.0), weights=np.array([1.0, 0.0]))
    (found,) = expected_s([Way(UP, 0.0, 1e6)], dead, 0.0, now_s=0.0)
    assert found == pytest.approx(2.0)


@settings(max_examples=50)
@given(some.lists(some.floats(0.0001, 1.0), min_size=1, max_size=8))
def test_another_way_than_the_one_asked_for_is_taken_only_where_it_is_clearly_quicker(seconds: list[float]) -> None:
    ways = [Way(Handover(0, level), 0.0) for level in range(len(seconds))]
    taken = quickest(ways, np.array(seconds))
    took = seconds[ways.index(taken)]
    if taken is not ways[0]:
        assert took == min(seconds)
        assert took < 0.9 * seconds[0]
    else:
        assert min(seconds) >= 0.9 * seconds[0] - 0.0005
