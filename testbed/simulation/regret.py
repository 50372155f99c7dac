"""How much of the oracle's utility a policy loses: cases, references and summaries over recorded links.

Regret is 1 - U / U_oracle in per cent. Cases where the best fixed choice loses less than `SATURATED` per cent ask for
no adaptation and are reported apart.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from adaptation.plan import Plan
from adaptation.policies import Policy
from testbed.simulation.conditions import KEEPS_ALL, Conditions, Run
from testbed.simulation.hindsight import fixed_utilities
from testbed.simulation.oracle import foresee
from testbed.simulation.run import Simulation
from testbed.simulation.supply import Supply
from testbed.simulation.traces import read_supply

SATURATED = 0.5
SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Case:
    """A table of options on a part of a trace, with a deadline. `start` is a share of the trace's length."""

    table: str
    trace: Path
    start: float
    deadline_s: float


@dataclass(frozen=True, slots=True)
class Reference:
    """What a case allows: utilities of the oracle, the best fixed choice and the best device answer."""

    oracle: float
    fixed: float
    local: float

    def regret(self, utility: float) -> float:
        """Per cent of the oracle's utility."""
        return 100.0 * (1.0 - utility / self.oracle)

    @property
    def saturated(self) -> bool:
        """Whether somebody who never adapts loses next to nothing."""
        return self.regret(self.fixed) < SATURATED


@dataclass(frozen=True, slots=True)
class Score:
    """One policy on one trace, over all starts: regrets in per cent; and shares of device time and bytes."""

    trace: str
    regret: float
    fixed: float
    local: float
    hedge_share: float
    probe_share: float


def trace_files() -> list[Path]:
    """The recorded traces of `ISTHMUS_DATA` (default `../shared/data`), in order of name; none if they are not here."""
    folder = Path(os.environ.get("ISTHMUS_DATA", "../shared/data")) / "traces"
    return sorted(path for path in folder.glob("*/*") if path.is_file())


@cache
def _supply(path: Path) -> Supply:
    return read_supply(path)


def conditions(case: Case, plan: Plan, *, held_back_bytes: float = KEEPS_ALL) -> Conditions:
    """The case as a simulated run."""
    whole = _supply(case.trace)
    supply = whole.window(case.start * float(whole.times_s[-1]), SECONDS)
    return Conditions(
        plan=plan, supply=supply, seconds=SECONDS, deadline_s=case.deadline_s, held_back_bytes=held_back_bytes
    )


def reference(given: Conditions) -> Reference:
    """Oracle, best fixed choice and best device answer of one case."""
    fixed = fixed_utilities(given)
    local = max((float(fixed[place]) for place in given.plan.columns.local), default=0.0)
    return Reference(foresee(given).utility, float(fixed.max()), local)


def play(given: Conditions, policy: Policy) -> Run:
    """The policy on one case."""
    return Simulation(given, policy).go()


def score(
    policy: Policy, cases: Iterable[tuple[Conditions, Reference]], trace: str, *, held_back_bytes: float = KEEPS_ALL
) -> Score:
    """One policy on all starts of one trace."""
    rows = []
    for given, known in cases:
        run = play(replace(given, held_back_bytes=held_back_bytes), policy)
        hedge_s = sum(frame.hedge_s for frame in run.frames)
        rows.append((
            known.regret(run.utility), known.regret(known.fixed), known.regret(known.local),
            hedge_s / max(run.device_s - hedge_s, 1e-9), run.probe_bytes / max(run.sent_bytes, 1.0),
        ))  # fmt: skip
    means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    return Score(trace, *means)


def mean_and_worst(scores: Sequence[Score], of: Callable[[Score], float]) -> tuple[float, float]:
    """Mean and greatest over traces; (0, 0) for none."""
    values = [of(score) for score in scores]
    return (sum(values) / len(values), max(values)) if values else (0.0, 0.0)
