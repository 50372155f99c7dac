"""What an edge brings in under the goals `latency` and `utility`, and alone, in simulated time.

Six kinds of frames with worths, costs, deadlines and times of the order of those of drone fleets: some are worth a way
to the cloud, some are not. The scheduler is the real one; the cloud takes a time drawn anew for every frame, and as
many as there are. What an edge decides follows from `serving.relaying.worth`, as in `UtilityRelay`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from benchmarks.figure import Figure
from serving.relaying.worth import Worth
from serving.scheduling.jobs import Path
from serving.scheduling.replay import Arrival, Outcome, Replay
from serving.scheduling.scheduler import Scheduler

SECONDS = 60.0
SEEDS = (1, 2, 3, 4, 5)
LOADS = (0.5, 1.0, 2.0, 4.0)
"""Of what the edge can do."""
MARGIN = 1.1
"""A frame goes up so much before the last moment, relative to what that is expected to take."""


@dataclass(frozen=True, eq=False)
class Kind:
    """Frames of one model; seconds."""

    worth: Worth
    deadline_s: float
    here_s: float
    above_s: float
    path: Path


def _kind(benefit: float, edge_cost: float, cloud_cost: float, times_s: tuple[float, float, float]) -> Kind:
    worth = Worth(benefit=benefit, edge_cost=edge_cost, cloud_cost=cloud_cost)
    return Kind(worth, *times_s, Path(object()))


KINDS = (
    _kind(12.0, 0.1, 2.5, (0.65, 0.17, 0.40)),
    _kind(10.0, 0.1, 2.6, (0.75, 0.17, 0.43)),
    _kind(7.0, 0.1, 1.5, (0.85, 0.14, 0.59)),
    _kind(4.0, 0.2, 4.3, (0.90, 0.24, 0.54)),
    _kind(17.0, 0.4, 15.0, (1.00, 0.56, 0.88)),
    _kind(25.0, 0.7, 21.0, (0.95, 0.70, 0.83)),
)
"""The fourth costs more above than it is worth."""


class Edge:
    """One run: frames come, and go the way that a goal says.

    Args:
        goal: "alone", "latency" or "utility".
        seed: of the frames and of the cloud's times.
    """

    def __init__(self, goal: str, seed: int) -> None:
        self._goal = goal
        self._generator = random.Random(seed)
        self._kinds = {kind.path: kind for kind in KINDS}
        self.utility = 0.0
        self.frames = count()

    def run(self, load: float) -> float:
        """The utility of all frames that come at a load."""
        scheduler = Scheduler(capacity=4096)
        for kind in KINDS:
            scheduler.costs.learn(kind.path.steps[0], 1, kind.here_s)
            scheduler.costs.of(kind.path.steps[0]).forbid_batches()
        times = {kind.path.steps[0]: kind.here_s for kind in KINDS}
        Replay(scheduler, lambda step, size: times[step] * size, follow=self._ended).run(self._frames(load))
        return self.utility

    def _frames(self, load: float) -> Iterator[Arrival]:
        per_s = load / (sum(kind.here_s for kind in KINDS) / len(KINDS))
        at_s = 0.0
        while (at_s := at_s + self._generator.expovariate(per_s)) < SECONDS:
            kind = self._generator.choice(KINDS)
            score = kind.worth.lost_elsewhere(in_time_above=kind.above_s <= kind.deadline_s)
            yield Arrival(at_s, "fleet", kind.path, kind.deadline_s, score if self._goal == "utility" else 0.0)

    def _ended(self, outcome: Outcome) -> Sequence[Arrival]:
        """Count an answer, or decide what becomes of a frame without one; it may come again as a spare."""
        arrival = outcome.arrival
        kind, deadline_s = self._kinds[arrival.path], arrival.at_s + arrival.patience_s
        if outcome.answered:
            self.utility += kind.worth.benefit * outcome.in_time - kind.worth.edge_cost
            return ()
        up_s = kind.above_s * MARGIN
        in_time = outcome.ended_s + kind.above_s <= deadline_s
        if self._goal == "utility" and arrival.idle_until_s is None:
            until_s = deadline_s - up_s if in_time and kind.worth.above > 0 else deadline_s
            left_s = deadline_s - outcome.ended_s
            return [
                Arrival(
                    outcome.ended_s, arrival.sender, arrival.path, left_s, idle_until_s=max(until_s, outcome.ended_s)
                )
            ]
        if self._goal != "alone" and in_time and (self._goal == "latency" or kind.worth.above > 0):
            took_s = kind.above_s * self._generator.uniform(0.8, 1.1)
            self.utility += kind.worth.benefit * (outcome.ended_s + took_s <= deadline_s) - kind.worth.cloud_cost
        return ()


def figures() -> Sequence[Figure]:
    """The utility of each goal at each load, as shares of what both others bring."""
    found = []
    for load in LOADS:
        brought = {goal: [Edge(goal, seed).run(load) for seed in SEEDS] for goal in ("alone", "latency", "utility")}
        for other in ("latency", "alone"):
            ratios = [ours / theirs for ours, theirs in zip(brought["utility"], brought[other], strict=True)]
            against = "the goal latency" if other == "latency" else "an edge without a cloud"
            found.append(
                Figure.of_runs(f"utility at {load:g} times the edge's load", ratios, "times", 1.0, "at least", against)
            )
    return found
