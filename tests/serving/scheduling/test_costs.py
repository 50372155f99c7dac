"""What is learnt of costs, against costs that are known."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from serving.scheduling.costs import MAX_SIZE, Costs
from serving.scheduling.jobs import Path


def test_an_affine_cost_is_learnt_from_batches_of_any_size_in_spite_of_noise() -> None:
    generator, costs = random.Random(1), Costs()
    for _ in range(4000):
        size = generator.randint(1, MAX_SIZE)
        costs.learn("step", size, (0.002 + 0.0005 * size) * generator.uniform(0.9, 1.1))
    truth = 0.002 + 0.0005 * np.arange(1, MAX_SIZE + 1)
    assert np.abs(np.array(costs.of("step").seconds[1:]) / truth - 1).max() < 0.1
    assert costs.of("step").efficient == MAX_SIZE


def test_a_change_is_followed() -> None:
    costs = Costs()
    for took_s in (0.001, 0.003):
        for _ in range(60):
            for size in (1, 3, 8, 64):
                costs.learn("step", size, took_s * size)
    for size in (1, 3, 8, 64):
        assert costs.of("step").at(size) == pytest.approx(0.003 * size, rel=0.05)


def test_one_run_that_lost_its_processor_changes_little() -> None:
    costs = Costs()
    costs.learn("step", 1, 0.001)
    costs.learn("step", 1, 5.0)
    assert costs.of("step").at(1) < 0.0015


def test_nothing_is_known_of_a_step_never_done() -> None:
    costs = Costs()
    assert costs.total(Path("step"), 0) == [0.0] * (MAX_SIZE + 1)
    assert (costs.of("step").limit, costs.of("step").efficient) == (2, 1)


def test_sizes_never_tried_are_tried_one_doubling_at_a_time() -> None:
    costs = Costs()
    for size in (1, 2, 4, 8):
        assert costs.of("step").limit >= size
        costs.learn("step", size, 0.001 + 0.0001 * size)
        assert costs.of("step").limit == 2 * size
    assert costs.of("step").at(16) < 2 * costs.of("step").at(8)


def test_a_step_that_cannot_be_batched_never_is() -> None:
    costs = Costs()
    costs.learn("step", 8, 0.001)
    costs.of("step").forbid_batches()
    costs.learn("step", 1, 0.001)
    assert (costs.of("step").limit, costs.of("step").efficient) == (1, 1)


def test_the_cost_of_a_path_is_that_of_its_steps() -> None:
    costs, path = Costs(), Path("a", "b")
    costs.learn("a", 1, 0.001)
    costs.learn("b", 1, 0.002)
    assert costs.total(path, 0)[1] == pytest.approx(0.003)
    assert costs.total(path, 1)[1] == pytest.approx(0.002)
    assert costs.fastest_s(path, 0) == pytest.approx(0.003)
    costs.doubt(path, 0)
    assert costs.fastest_s(path, 0) == pytest.approx(0.0027)
    costs.learn("b", 1, 0.004)
    assert costs.fastest_s(path, 0) == pytest.approx(0.0029)


@given(some.lists(some.tuples(some.integers(1, MAX_SIZE), some.floats(1e-5, 1.0)), max_size=12))
@settings(max_examples=50)
def test_one_size_asked_for_is_told_as_all_sizes_are(batches: list[tuple[int, float]]) -> None:
    costs, path = Costs(), Path("step")
    for size, took_s in batches:
        costs.learn("step", size, took_s)
    assert costs.of("step").at(1) == pytest.approx(float(costs.of("step").seconds[1]))
    assert costs.alone_s(path, 0) == pytest.approx(float(costs.total(path, 0)[1]))
