"""What the default policy does in outages, on a device that others use too, and on links that stay as they are."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise

from adaptation.decision import Decision
from adaptation.goal import Goal
from adaptation.hedging import Hedging
from adaptation.plan import Plan
from adaptation.policies import DeadlinePolicy
from adaptation.policies.contention import slowed
from adaptation.snapshot import Snapshot
from adaptation.worth import worth
from benchmarks.figure import Figure
from testbed.simulation.conditions import KEEPS_ALL, Conditions, Run
from testbed.simulation.oracle import foresee
from testbed.simulation.run import Simulation
from testbed.simulation.supply import steps
from testbed.simulation.tables import TABLES

GOAL = Goal(latency_weight=0.0)
GOOD_BPS, OUTAGE_S = 5e6, (6.0, 10.0)
PHASES = 8
CONSTANT_BPS = (2.5e4, 3e4, 4e4, 6e4, 8e4, 1e5, 1.2e5, 1.5e5, 2e5, 3e5, 4e5, 6e5, 1e6)
SETTLED = 20
"""Frames after which a link counts as known."""
BUSY_FROM = 50
"""The first frame of a device whose processor is shared."""
POLICIES: Mapping[str, tuple[DeadlinePolicy, float]] = {
    "hedged": (DeadlinePolicy(GOAL, Hedging()), 0.0),
    "deadline": (DeadlinePolicy(GOAL), KEEPS_ALL),
}


def figures() -> list[Figure]:
    """Outages and contention, on every table."""
    found = []
    for name, (policy, held_back_bytes) in POLICIES.items():
        for table, make in TABLES.items():
            found += _outage(f"{name}, {table}", policy, held_back_bytes, make)
            found += _contention(f"{name}, {table}", policy, held_back_bytes, make())
            found += _constant(f"{name}, {table}", policy, held_back_bytes, make())
    return found


def _constant(title: str, policy: DeadlinePolicy, held_back_bytes: float, plan: Plan) -> list[Figure]:
    """Changes a second on links that do not move, and the share of links on which there is less than one."""
    most = []
    for rate_bps in CONSTANT_BPS:
        given = Conditions(
            plan=plan, supply=steps([(40.0, rate_bps)]), seconds=30.0, deadline_s=0.25, held_back_bytes=held_back_bytes
        )
        chosen = [frame.choice for frame in Simulation(given, policy).go().frames[SETTLED:]]
        most.append(10.0 * sum(one != other for one, other in pairwise(chosen)) / len(chosen))
    calm = sum(one < 1.0 for one in most) / len(most)
    return [
        Figure(f"{title}: most changes on a constant link", max(most), "a second", 1.0, "below", runs=len(most)),
        Figure(f"{title}: constant links with less than one change a second", calm, "share", runs=len(most)),
    ]


def _outage(title: str, policy: DeadlinePolicy, held_back_bytes: float, make: Callable[[], Plan]) -> list[Figure]:
    """Four seconds without a link, beginning at eight places between two frames."""
    runs, late, shares = [], [], []
    for phase in range(PHASES):
        begin_s, end_s = (moment_s + 0.1 * phase / PHASES for moment_s in OUTAGE_S)
        link = steps([(begin_s, GOOD_BPS), (end_s - begin_s, 0.0), (10.0, GOOD_BPS)])
        given = Conditions(plan=make(), supply=link, seconds=18.0, deadline_s=0.25, held_back_bytes=held_back_bytes)
        run = Simulation(given, policy).go()
        runs.append(_unanswered(run, begin_s))
        late.append(_first_remote(run, end_s) - end_s)
        shares.append(100.0 * run.probe_bytes / run.sent_bytes)
    most = 0.0 if policy.hedging is not None else 1.5
    return [
        Figure(f"{title}: unanswered at an outage's onset", statistics.mean(runs), "frames", most, runs=PHASES),
        Figure(f"{title}: back after an outage", 10.0 * statistics.median(late), "frames", 5.0, runs=PHASES),
        Figure(f"{title}: probes of the run's bytes", statistics.mean(shares), "%", 1.0, "below", runs=PHASES),
    ]


def _unanswered(run: Run, begin_s: float) -> int:
    """Of the frames in flight when the link dies and those of the second after that."""
    return sum(frame.delivered == 0 and -0.25 <= frame.captured_s - begin_s < 1.0 for frame in run.frames)


def _first_remote(run: Run, after_s: float) -> float:
    """Capture of the first frame after the return that a tier answered; the end of the run if there is none."""
    back = (frame.captured_s for frame in run.frames if frame.captured_s >= after_s and frame.by and frame.by.remote)
    return next(back, run.frames[-1].captured_s)


def _contention(title: str, policy: DeadlinePolicy, held_back_bytes: float, plan: Plan) -> list[Figure]:
    """From five seconds on everything takes the device twice as long."""
    last_wrong, truth = [0], slowed(plan, 2.0)

    def judge(index: int, seen: Snapshot, decision: Decision) -> None:
        known = replace(seen, plan=truth)
        best = policy.decide(known).choice
        if index < BUSY_FROM or best is None:
            return
        utility, positions = worth(known, policy.goal, policy.hedging).utility, plan.columns.positions
        got = 0.0 if decision.choice is None else utility[positions[decision.choice]]
        if got < 0.98 * utility[positions[best]]:
            last_wrong.append(index - BUSY_FROM + 1)

    given = Conditions(
        plan=plan, supply=steps([(60.0, 3e6)]), seconds=14.0, deadline_s=0.25, held_back_bytes=held_back_bytes
    )
    busy = replace(given, slowdown=lambda now_s: 2.0 if now_s >= 0.1 * BUSY_FROM else 1.0)
    since = [frame.accuracy for frame in Simulation(busy, policy, observe=judge).go().frames[BUSY_FROM:]]
    best = foresee(replace(given, plan=truth, seconds=9.0)).utility
    return [
        Figure(f"{title}: frames until right under contention", float(last_wrong[-1]), "frames", 10.0),
        Figure(
            f"{title}: utility under contention", statistics.mean(since) / best, "ratio", 0.9, "at least",
            "the oracle that knows of it",
        ),
    ]  # fmt: skip
