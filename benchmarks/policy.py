"""Regret of the policies on the recorded traces of `ISTHMUS_DATA`, and what a decision costs.

Half of the traces (every second by name) served for tuning, beside synthetic links; the other half is held out and
reported apart. `python -m benchmarks.policy --table` writes every policy on every trace into docs/adaptation.md.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

from adaptation.hedging import Hedging
from adaptation.link import UplinkEstimator
from adaptation.policies import DeadlinePolicy, Policy, policy_named
from adaptation.policies.content import ContentPolicy
from adaptation.policies.contention import ContentionPolicy
from adaptation.values import Goal, Plan, Route, Snapshot
from benchmarks import policy_events
from benchmarks.figure import Figure
from isthmus.builtin.demo import BUNDLE, WHOLE_MODEL_S
from testbed.simulation.conditions import KEEPS_ALL, Conditions, reachable
from testbed.simulation.regret import Case, Reference, Score, conditions, mean_and_worst, reference, score, trace_files
from testbed.simulation.run import Simulation
from testbed.simulation.supply import steps
from testbed.simulation.tables import TABLES as WRITTEN_DOWN
from testbed.simulation.tables import of_bundle

TABLES: Mapping[str, Callable[[], Plan]] = {**WRITTEN_DOWN, "builtin": lambda: of_bundle(BUNDLE, WHOLE_MODEL_S)}
"""The built-in bundle's is its own, on the demo's device."""
STARTS = (0.05, 0.4, 0.75)
"""None of them served for tuning."""
DEADLINES_S = (0.1, 0.25, 0.5)
GOAL = Goal(latency_weight=0.0)
PUBLISHED = ("empirical", "harmonic", "ewma", "neurosurgeon", "linucb", "spinn")
POLICIES: Mapping[str, tuple[Policy, float]] = {
    "hedged": (DeadlinePolicy(GOAL, Hedging()), 0.0),
    "deadline": (DeadlinePolicy(GOAL), KEEPS_ALL),
    "contention": (ContentionPolicy(GOAL), KEEPS_ALL),
    "content": (ContentPolicy(GOAL), KEEPS_ALL),
    **{name: (policy_named(name), KEEPS_ALL) for name in PUBLISHED},
}
"""Each with what its transport holds back: only the first takes unsent bytes back."""
TARGETS = {
    ("hedged", "L"): ((0.4, 1.4), (0.2, 1.0), (0.15, 1.0)),
    ("hedged", "HW"): ((1.6, 3.7), (1.2, 3.3), (1.0, 5.0)),
    ("deadline", "L"): ((2.2, 5.5), (1.6, 4.5), (1.0, 3.0)),
    ("deadline", "HW"): ((6.2, 15.5), (4.0, 10.0), (2.7, 9.5)),
}
BEGIN, END = "<!-- begin: every policy on every trace -->", "<!-- end: every policy on every trace -->"
RATIOS = (0.65, 0.5, 0.35)


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
    asked = [score for score in scores(name, table, deadline_s) if score.fixed >= 0.5]
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
    ]
    if name == "hedged" and deadline_s >= 0.25:
        spent, _ = mean_and_worst(asked, lambda score: score.hedge_share)
        found.append(Figure(f"{title}: device compute for hedges", 100.0 * spent, "%", 15.0))
    return found


def _held_out() -> set[str]:
    return {path.name for path in trace_files()[1::2]}


@cache
def _known(table: str, trace: Path, deadline_s: float) -> tuple[tuple[Conditions, Reference], ...]:
    plan = TABLES[table]()
    cases = (conditions(Case(table, trace, start, deadline_s), plan) for start in STARTS)
    return tuple((given, reference(given)) for given in cases)


@cache
def scores(name: str, table: str, deadline_s: float) -> tuple[Score, ...]:
    """One policy on every trace."""
    policy, held_back_bytes = POLICIES[name]
    return tuple(
        score(policy, _known(table, trace, deadline_s), trace.name, held_back_bytes=held_back_bytes)
        for trace in trace_files()
    )


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
        estimator.acknowledged(number, now_s + 0.064 + 8 * size / 2e6, 0.002)
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


def write_table(page: Path) -> None:
    """Put the table between its two marks in a page."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}")


if __name__ == "__main__" and "--table" in sys.argv:
    write_table(Path(__file__).parent.parent / "docs" / "adaptation.md")
