"""Whom a batch takes along: equals, and greedy senders as far as that costs the others little. Sums done by hand."""

from __future__ import annotations

from serving.scheduling.arrivals import Arrivals
from serving.scheduling.batching import Least, Waiting
from serving.scheduling.costs import Costs
from serving.scheduling.jobs import Job, Path

STEP = Path("step")
FAR_S = 1000.0


def taken(equals: int, greedy: int, ahead_per_s: float = 0.0) -> tuple[int, int]:
    """How many of each kind go in one batch, of a step that takes 0.95 s and 0.05 s more for each frame."""
    costs, arrivals = Costs(), Arrivals()
    for size in (1, 2, 4, 8, 16, 32):
        costs.learn("step", size, 0.95 + 0.05 * size)
    line = [Job("modest", FAR_S, STEP) for _ in range(equals)] + [Job("greedy", FAR_S, STEP) for _ in range(greedy)]
    for job in line[equals:]:
        job.greedy = True
    arrivals.learn(STEP, 0.0)
    waiting = Waiting({"step": line}, peers=equals or greedy, ahead_per_s=ahead_per_s, lead=line[0], busy=True)
    batch = Least().choose(waiting, costs, arrivals, 0.0)
    assert isinstance(batch, list)
    return sum(not job.greedy for job in batch), sum(job.greedy for job in batch)


def test_equals_all_go_together_where_batching_costs_little() -> None:
    assert taken(20, 0) == (20, 0)


def test_greedy_ones_lengthen_a_batch_of_others_by_half_at_most() -> None:
    """Two alone take 1.05 s; twelve take 1.55 s, thirteen 1.6 s."""
    assert taken(2, 18) == (2, 10)


def test_a_greedy_batch_ends_before_others_are_expected() -> None:
    """Half a frame a second: 1.2 s are 0.6 of one, and five frames take that long."""
    assert taken(0, 18, ahead_per_s=0.499) == (0, 5)
    assert taken(0, 18) == (0, 18)
