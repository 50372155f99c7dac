"""The best assignment for a goal, within budgets.

A goal is a tuple of figures whose largest is made small. With one figure and no budget the minimum cut gives the exact
optimum. The largest of several (throughput: the slowest stage rules) and budgets (knapsacks) are NP-hard on graphs:
they are exact over the enumerated cuts, which are all prefixes of the execution order and every minimum cut met on the
way, and come with a bound below which no assignment at all can lie (Lagrangian relaxation, its multipliers from
Kelley's cutting planes).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linprog

from partitioner.errors import InvalidSetting, NoFeasiblePlan
from partitioner.planning.figures import Additive, Tiers, figures_of, furthest_readers, stage_names
from partitioner.planning.minimum_cut import CutGraph
from partitioner.planning.network import Floats, Setting
from partitioner.planning.prefixes import Prefixes

GOALS: dict[str, Callable[[Setting], list[str]]] = {
    "latency": lambda setting: ["latency_s"],
    "energy": lambda setting: ["joules"],
    "bytes": lambda setting: ["bytes"],
    "throughput": stage_names,
}
"""Per goal the figures whose largest is made small. To add an objective: an entry here, of figures of `figures.py`."""

_PREFIX_STEPS = 12
_CUT_STEPS = 4


@dataclass(frozen=True)
class Plan:
    """One assignment, its figures, and how far from the best it can be.

    Attributes:
        tiers: [operators], 0 for the device.
        figures: every figure of the assignment by name, see `figures.figures_of`.
        value: the goal's figure: seconds, joules or bytes; for throughput the seconds of the slowest stage.
        bound: no assignment within the budgets has a lower value. Equals `value` where the plan is proved to be best.
    """

    setting: Setting = field(repr=False)
    goal: str
    tiers: tuple[int, ...] = field(repr=False)
    figures: Mapping[str, float]
    value: float
    bound: float

    @property
    def optimal(self) -> bool:
        """Whether the bound leaves nothing (but rounding) between the plan and the best."""
        return self.value <= self.bound * (1 + 1e-9)

    def crossing(self, boundary: int) -> tuple[str, ...]:
        """Names of the operators whose tensors are sent over a boundary."""
        furthest = furthest_readers(self.setting, np.array(self.tiers))
        names = zip(self.setting.operators, self.tiers, furthest, strict=True)
        return tuple(operator.name for operator, tier, far in names if tier <= boundary < far)

    @property
    def source(self) -> str:
        """The weakest origin of its figures: "declared" before "predicted" before "measured"."""
        used = range(max(self.tiers) + 1)
        sources = [self.setting.tiers[tier].source for tier in used]
        sources += [link.source for link in self.setting.links[: max(self.tiers)]]
        return next(kind for kind in ("declared", "predicted", "measured") if kind in sources)


class Planner:
    """Plans for one setting; goals and budgets share the graph and the enumerated cuts."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.figures = figures_of(setting)
        self.prefixes = Prefixes(setting)
        self._graph = CutGraph(setting)

    def plan(self, goal: str = "latency", budgets: Mapping[str, float] | None = None) -> Plan:
        """The best assignment.

        Args:
            goal: a key of `GOALS`.
            budgets: largest value allowed, by figure name, e.g. {"latency_s": 0.1, "memory_bytes": 4e6}.

        Raises:
            InvalidSetting: no such goal or figure.
            NoFeasiblePlan: names the budget that rules out the last enumerated cut.
        """
        if goal not in GOALS:
            raise InvalidSetting(f"there is no goal {goal!r}; choose one of {', '.join(GOALS)}")
        limits = dict(budgets or {})
        unknown = next((name for name in limits if name not in self.figures), None)
        if unknown is not None:
            raise InvalidSetting(f"there is no figure {unknown!r} to limit; choose among {', '.join(self.figures)}")
        wanted = GOALS[goal](self.setting)
        if len(wanted) == 1 and not limits:
            tiers = self.cheapest(self.figures[wanted[0]])
            return self._told(goal, wanted, tiers, -np.inf, exact=True)
        return self._searched(goal, wanted, limits)

    def cheapest(self, cost: Additive) -> Tiers:
        """The assignment that minimises an additive cost, over all assignments."""
        known, place = self.prefixes.best(cost)
        other = self.prefixes.tiers_at(place)
        if not self.setting.boundaries:
            return other
        found = self._graph.cheapest(cost, other, known)
        return found if self.value(cost, found) < self.value(cost, other) else other

    def value(self, cost: Additive, tiers: Tiers) -> float:
        """What an assignment costs."""
        return cost.of(tiers, furthest_readers(self.setting, tiers))

    def _told(self, goal: str, wanted: Sequence[str], tiers: Tiers, bound: float, *, exact: bool = False) -> Plan:
        furthest = furthest_readers(self.setting, tiers)
        figures = {name: cost.of(tiers, furthest) for name, cost in self.figures.items()}
        value = max(figures[name] for name in wanted)
        return Plan(self.setting, goal, tuple(map(int, tiers)), figures, value, value if exact else min(bound, value))

    def _searched(self, goal: str, wanted: list[str], limits: dict[str, float]) -> Plan:
        extra = [self.cheapest(self.figures[name]) for name in limits]
        dual = _Dual(self, wanted, limits)
        extra += dual.ascend()
        objective = np.maximum.reduce([self.prefixes.table(self.figures[name]) for name in wanted])
        others = np.array([max(self.value(self.figures[name], one) for name in wanted) for one in extra])
        allowed = np.isfinite(objective)
        allowed_others = np.ones(len(extra), np.bool_)
        for name, limit in limits.items():
            table = self.prefixes.table(self.figures[name])
            values = np.array([self.value(self.figures[name], one) for one in extra])
            least = min(np.min(table[allowed], initial=np.inf), np.min(values[allowed_others], initial=np.inf))
            allowed, allowed_others = allowed & (table <= limit), allowed_others & (values <= limit)
            if not allowed.any() and not allowed_others.any():
                raise NoFeasiblePlan(name, limit, float(least))
        objective = np.where(allowed, objective, np.inf)
        others = np.where(allowed_others, others, np.inf)
        if np.min(others, initial=np.inf) < objective.min():
            return self._told(goal, wanted, extra[int(others.argmin())], dual.bound)
        place = np.unravel_index(int(objective.argmin()), objective.shape)
        return self._told(goal, wanted, self.prefixes.tiers_at(tuple(map(int, place))), dual.bound)


class _Dual:
    """Multipliers of the goal's figures (they sum to one) and of the budgets, and the bound that they prove.

    For any multipliers w and m, the least of sum(w * figure) + sum(m * (budget figure - budget)) over all assignments
    is no larger than the goal's value of any assignment within the budgets.
    """

    def __init__(self, planner: Planner, wanted: list[str], limits: dict[str, float]) -> None:
        self._planner = planner
        self._costs = [planner.figures[name] for name in (*wanted, *limits)]
        self._limits = np.array([*(0.0 for _ in wanted), *limits.values()])
        self._weighted = len(wanted)
        self._rows: list[Floats] = []
        self.bound = -np.inf

    def ascend(self) -> list[Tiers]:
        """Improve the bound; returns the assignments met on the way."""
        for cost in self._costs:
            self._meet(self._planner.prefixes.tiers_at(self._planner.prefixes.best(cost)[1]))
        weights, promise = self._multipliers()
        for _ in range(_PREFIX_STEPS):
            value, place = self._planner.prefixes.best(self._mixed(weights))
            if value - float(weights @ self._limits) >= promise - 1e-9 * abs(promise):
                break
            self._meet(self._planner.prefixes.tiers_at(place))
            weights, promise = self._multipliers()
        met = []
        for _ in range(_CUT_STEPS):
            tiers = self._planner.cheapest(self._mixed(weights))
            met.append(tiers)
            reached = float(weights @ self._meet(tiers))
            self.bound = max(self.bound, reached)
            if reached >= promise - 1e-9 * abs(promise):
                break
            weights, promise = self._multipliers()
        return met

    def _meet(self, tiers: Tiers) -> Floats:
        furthest = furthest_readers(self._planner.setting, tiers)
        row: Floats = np.array([cost.of(tiers, furthest) for cost in self._costs]) - self._limits
        self._rows.append(row)
        return row

    def _mixed(self, weights: Floats) -> Additive:
        parts = [cost * float(weight) for cost, weight in zip(self._costs, weights, strict=True)]
        return sum(parts[1:], parts[0])

    def _multipliers(self) -> tuple[Floats, float]:
        """The multipliers that are best against all assignments met so far, and the bound they would prove."""
        rows = np.array(self._rows)
        largest = np.abs(rows).max(axis=0)
        scale = np.where(largest > 0, largest, 1.0)
        unit = float(scale[: self._weighted].max())
        # Unknowns: multipliers (of budgets in units of their scale) and the bound in units of the goal's scale.
        shrunk = np.where(np.arange(rows.shape[1]) < self._weighted, unit, scale)
        against = np.hstack([-rows / shrunk, np.ones((len(rows), 1))])
        simplex = np.zeros((1, rows.shape[1] + 1))
        simplex[0, : self._weighted] = 1.0
        most = [(0.0, 1.0)] * self._weighted + [(0.0, 1e3)] * (rows.shape[1] - self._weighted) + [(None, None)]
        goal = np.append(np.zeros(rows.shape[1]), -1.0)
        solved = linprog(goal, against, np.zeros(len(rows)), simplex, [1.0], most, method="highs")
        weights = np.maximum(np.asarray(solved.x[:-1]), 0.0)
        weights[: self._weighted] /= weights[: self._weighted].sum()
        weights[self._weighted :] *= unit / scale[self._weighted :]
        return weights, float(solved.x[-1]) * unit
