"""Regret of the policies on the recorded traces of `ISTHMUS_DATA`, and what a decision costs.

Half of the traces (every second by name) served for tuning, beside synthetic links; the other half is held out and
reported apart. What is played is kept (see `benchmarks.policy_cells`):

    python -m benchmarks.policy --play 280    # play for so many seconds, on all processors; again until none is left
    python -m benchmarks.policy --table       # every policy on every trace, into docs/adaptation.md
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from adaptation.link import UplinkEstimator
from adaptation.plan import Route
from adaptation.policies import DeadlinePolicy
from adaptation.snapshot import Snapshot
from benchmarks import policy_events
from benchmarks.figure import Figure
from benchmarks.policy_cells import DEADLINES_S, GOAL, POLICIES, ROOT, TABLES, Ground, play_all, played
from testbed.simulation.conditions import Conditions, reachable
from testbed.simulation.regret import SATURATED, Score, mean_and_worst, trace_files
from testbed.simulation.run import Simulation
from testbed.simulation.supply import steps

TARGETS = {
    ("hedged", "L"): ((0.4, 1.4), (0.2, 1.0), (0.15, 1.0)),
    ("hedged", "HW"): ((1.6, 3.7), (1.2, 3.3), (1.0, 5.0)),
    ("deadline", "L"): ((2.2, 5.5), (1.6, 4.5), (1.0, 3.0)),
    ("deadline", "HW"): ((6.2, 15.5), (4.0, 10.0), (2.7, 9.5)),
}
BEGIN, END = "<!-- begin: every policy on every trace -->", "<!-- end: every policy on every trace -->"
RATIOS = (0.65, 0.5, 0.35)
NEAR = 0.2
"""Points of regret by which another policy may be better on a trace."""


def figures() -> Sequence[Figure]:
    """The promised figures; without the traces only the cost of deciding."""
    found = [*_cost(), *policy_events.figures()]
    if trace_files():
        for name in ("hedged", "deadline"):
            for table in TABLES:
                for place, deadline_s in enumerate(DEADLINES_S):
                    found += _regrets(name, table, deadline_s, place)
    return found


def _regrets(name: str, table: str, deadline_s: float, place: int) -> list[Figure]:
    """Mean and worst over all traces, the held-out half's mean, and the comparison with the best fixed choice."""
    asked = [score for score in scores(name, table, deadline_s) if score.fixed >= SATURATED]
    held_out = [score for score in asked if score.trace in _held_out()]
    mean, worst = mean_and_worst(asked, lambda score: score.regret)
    fixed, _ = mean_and_worst(asked, lambda score: score.fixed)
    _, behind = mean_and_worst(asked, lambda score: score.regret - score.fixed)
    targets = TARGETS.get((name, table), ((None, None),) * 3)[place]
    title = f"{name}, {table}, {1000 * deadline_s:.0f} ms"
    found = [
        Figure(f"{title}: mean regret", mean, "%", targets[0], "at most", f"oracle, {len(asked)} traces"),
        Figure(f"{title}: worst trace", worst, "%", targets[1], "at most", "oracle"),
        Figure(f"{title}: mean regret, held-out traces", mean_and_worst(held_out, lambda s: s.regret)[0], "%"),
        Figure(f"{title}: share of fixed's regret", mean / max(fixed, 1e-9), "ratio", RATIOS[place]),
        Figure(f"{title}: most behind fixed", behind, "points", 0.5, "at most", "best fixed in hindsight, per trace"),
        Figure(
            f"{title}: most behind the first", _behind_the_first(name, table, deadline_s), "points", NEAR, "at most",
            "the best of the other policies, per trace",
        ),
    ]  # fmt: skip
    if name == "hedged" and deadline_s >= 0.25:
        spent, _ = mean_and_worst(asked, lambda score: score.hedge_share)
        found.append(Figure(f"{title}: device compute for hedges", 100.0 * spent, "%", 15.0))
    return found


def _behind_the_first(name: str, table: str, deadline_s: float) -> float:
    """By how much regret a policy is behind the best of the others on its worst trace, saturated ones included."""
    own = scores(name, table, deadline_s)
    return max(one.regret - _first(name, table, deadline_s, place)[0] for place, one in enumerate(own))


def _first(name: str, table: str, deadline_s: float, place: int) -> tuple[float, str]:
    """The least regret on one trace among the other policies, and whose it is; one without hedging is compared with
    those without."""
    others = (other for other in POLICIES if other not in (name, "hedged"))
    return min((scores(other, table, deadline_s)[place].regret, other) for other in others)


def _held_out() -> set[str]:
    return {path.name for path in trace_files()[1::2]}


def scores(name: str, table: str, deadline_s: float) -> tuple[Score, ...]:
    """One policy on every trace."""
    return tuple(played(Ground(table, trace, deadline_s), [name])[name] for trace in trace_files())


def _cost() -> list[Figure]:
    """Processor time, others may use the machine too: median of one frame on a good link; the simulator's speed."""
    plan, estimator, policy = TABLES["L"](), UplinkEstimator(), DeadlinePolicy(GOAL)
    taken = []
    for number in range(2000):
        now_s = 0.1 * number
        began = time.process_time()
        uplink = estimator.estimate(now_s)
        snapshot = Snapshot(now_s, now_s + 0.25, now_s, plan, uplink, reachable(now_s), None, now_s, 0.1)
        choice = policy.decide(snapshot).choice
        option = plan.find(choice) if choice else None
        size = option.message_bytes if option else 70.0
        estimator.sent(number, size, now_s + 0.02, Route.EDGE)
        arrived_s = now_s + 0.042 + 8 * size / 2e6
        estimator.acknowledged(number, arrived_s + 0.022, 0.002, arrived_us=int(1e6 * arrived_s))
        taken.append(1e6 * (time.process_time() - began))
    given = Conditions(plan=plan, supply=steps([(60.0, 2e6)]), seconds=60.0, deadline_s=0.25, held_back_bytes=0.0)
    speeds = []
    for _ in range(5):
        began = time.process_time()
        Simulation(given, POLICIES["hedged"][0]).go()
        speeds.append(60.0 / (time.process_time() - began))
    return [
        Figure("decide and estimator, per frame", statistics.median(taken), "us", 100.0, "at most", runs=len(taken)),
        Figure.of_runs("simulator, hedging, 10 frames/s", speeds, "times real time", 500.0, "at least"),
    ]


def table() -> str:
    """Every policy on every trace: regret in per cent, mean over starts, tables and deadlines as columns."""
    columns = [(table, deadline_s) for table in TABLES for deadline_s in DEADLINES_S]
    lines = ["| policy | trace | " + " | ".join(f"{name} {1000 * d:.0f}" for name, d in columns) + " |"]
    lines.append("|" + "---|" * (2 + len(columns)))
    for name in POLICIES:
        for place, trace in enumerate(trace_files()):
            row = (f"{scores(name, table, d)[place].regret:.2f}" for table, d in columns)
            lines.append(f"| {name} | {trace.name} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def table_of_others() -> str:
    """Where the default policy, hedged or not, is more than `NEAR` behind the first of the others."""
    lines = ["| policy | trace | options and deadline | regret | the first | its regret |", "|" + "---|" * 6]
    for name in ("hedged", "deadline"):
        for table in TABLES:
            for deadline_s in DEADLINES_S:
                for place, own in enumerate(scores(name, table, deadline_s)):
                    least, first = _first(name, table, deadline_s, place)
                    if own.regret - least > NEAR:
                        at = f"{table}, {1000 * deadline_s:.0f} ms"
                        lines.append(f"| {name} | {own.trace} | {at} | {own.regret:.2f} | {first} | {least:.2f} |")
    return "\n".join(lines)


def write_table(page: Path) -> None:
    """Put the tables between their two marks in a page."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    others = f"Where another policy is first by more than {NEAR} point:\n\n{table_of_others()}"
    page.write_text(f"{before}{BEGIN}\n\n{table()}\n\n{others}\n\n{END}{after}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.policy", description=__doc__)
    parser.add_argument("--play", type=float, metavar="SECONDS", default=0.0)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    if asked.play:
        print(play_all(list(POLICIES), seconds=asked.play, processes=asked.processes), "cells are still to be played")
    if asked.table:
        write_table(ROOT / "docs" / "adaptation.md")
