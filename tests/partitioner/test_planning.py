"""Plans against every assignment of small random networks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from partitioner.errors import InvalidSetting, NoFeasiblePlan
from partitioner.planning.fronts import best_between, pareto
from partitioner.planning.network import Link, Operator, Setting, Tier
from partitioner.planning.plan import GOALS, Plan, Planner
from tests.partitioner.settings import assignments, assignments_by_trying, everything, random_setting

ADDITIVE = ("latency", "energy", "bytes")
CLOSE = 1e-9


def chain(*operators: tuple[float, float, float]) -> Setting:
    """Device seconds, cloud seconds and tensor bytes of operators in a row, behind an input of 1,000 bytes."""
    made = [Operator("input", (), (0.0, 0.0), 1000.0)]
    for position, (device_s, cloud_s, tensor_bytes) in enumerate(operators):
        made.append(Operator(f"operator {position}", (position,), (device_s, cloud_s), tensor_bytes))
    return Setting(tuple(made), (Tier("device", 2.0), Tier("cloud")), (Link(8000.0),))


@pytest.mark.parametrize("networks", [200, pytest.param(1000, marks=pytest.mark.long)])
@pytest.mark.parametrize("tiers", [2, 3])
@pytest.mark.slow
def test_additive_goals_equal_brute_force_on_random_networks(tiers: int, networks: int) -> None:
    generator = np.random.default_rng(tiers)
    for _ in range(networks):
        setting = random_setting(generator, tiers)
        truth, planner = everything(setting).figures, Planner(setting)
        for goal in ADDITIVE:
            plan = planner.plan(goal)
            least = float(truth[GOALS[goal](setting)[0]].min())
            assert plan.value == pytest.approx(least, rel=CLOSE, abs=1e-12)
            assert plan.optimal


def planned(planner: Planner, goal: str, budgets: dict[str, float]) -> Plan | None:
    try:
        return planner.plan(goal, budgets)
    except NoFeasiblePlan:
        return None


def check_bounds(tiers: int, networks: int) -> list[float]:
    """Relative gaps of plans whose goal or budgets are not additive."""
    generator = np.random.default_rng(10 + tiers)
    gaps = []
    for _ in range(networks):
        setting = random_setting(generator, tiers)
        truth, planner = everything(setting).figures, Planner(setting)
        slowest = np.maximum.reduce([truth[name] for name in GOALS["throughput"](setting)])
        memory = float(generator.uniform(0.2, 1.0)) * setting.weight_bytes.sum()
        deadline = float(generator.uniform(1.0, 2.0)) * truth["latency_s"].min()
        for goal, values, budgets in (
            ("throughput", slowest, {}),
            ("throughput", slowest, {"latency_s": deadline}),
            ("latency", truth["latency_s"], {"memory_bytes": memory}),
            ("energy", truth["joules"], {"latency_s": deadline, "memory_bytes": memory}),
        ):
            plan = planned(planner, goal, budgets)
            if plan is None:
                continue
            kept = np.logical_and.reduce([truth[name] <= limit for name, limit in budgets.items()] or [values >= 0])
            assert all(plan.figures[name] <= limit for name, limit in budgets.items())
            least = float(values[kept].min())
            assert plan.bound <= least * (1 + CLOSE)
            assert least <= plan.value * (1 + CLOSE)
            gaps.append(plan.value / max(least, 1e-12) - 1)
    return gaps


@pytest.mark.parametrize("networks", [40, pytest.param(1000, marks=pytest.mark.long)])
@pytest.mark.parametrize("tiers", [2, 3])
@pytest.mark.slow
def test_other_goals_lie_within_their_stated_bound(tiers: int, networks: int) -> None:
    assert np.median(check_bounds(tiers, networks)) <= CLOSE


def test_the_enumeration_in_these_tests_is_complete() -> None:
    generator = np.random.default_rng(5)
    for tiers in (2, 3):
        for _ in range(20):
            setting = random_setting(generator, tiers, most=7)
            assert {tuple(map(int, one)) for one in assignments(setting)} == assignments_by_trying(setting)


def test_figures_of_a_plan_equal_those_counted_one_by_one() -> None:
    generator = np.random.default_rng(6)
    for _ in range(50):
        setting = random_setting(generator, 3)
        plan = Planner(setting).plan("latency")
        truth = everything(setting)
        place = truth.place_of(plan.tiers)
        assert plan.figures == pytest.approx({name: values[place] for name, values in truth.figures.items()})


def test_a_narrow_place_is_cut_and_named() -> None:
    plan = Planner(chain((0.1, 0.01, 50.0), (9.0, 0.1, 50.0))).plan("latency")
    assert plan.crossing(0) == ("operator 0",)
    assert plan.value == pytest.approx(0.1 + 0.05 + 0.1)
    assert plan.source == "declared"


def test_a_tensor_with_two_readers_is_sent_once() -> None:
    one = Operator("one", (0,), (1.0, 0.0), 100.0)
    readers = (Operator("left", (1,), (9.0, 0.0), 0.0), Operator("right", (1,), (9.0, 0.0), 0.0))
    setting = replace(chain(), operators=(*chain().operators, one, *readers))
    assert Planner(setting).plan("latency").value == pytest.approx(1.0)
    assert Planner(setting).plan("latency").figures["bytes"] == 1000.0


def test_one_tier_has_one_plan() -> None:
    setting = Setting((Operator("input", (), (0.0,), 8.0), Operator("all", (0,), (2.0,), 4.0)), (Tier("device"),), ())
    for goal in GOALS:
        assert Planner(setting).plan(goal).tiers == (0, 0)


def test_the_pareto_set_holds_no_beaten_cut_and_misses_none_of_the_prefixes() -> None:
    generator = np.random.default_rng(7)
    for _ in range(30):
        setting = random_setting(generator, 3)
        planner, names = Planner(setting), ["latency_s", "joules"]
        points = np.array([point.figures for point in pareto(planner, *names)])
        tables = [planner.prefixes.table(planner.figures[name]) for name in names]
        for candidate in np.stack(tables)[:, np.isfinite(tables[0])].T:
            assert (points <= candidate * (1 + CLOSE)).all(axis=1).any()
        for point in points:
            assert not ((points <= point).all(axis=1) & (points < point * (1 - CLOSE)).any(axis=1)).any()


def test_intervals_of_the_link_rate_hold_the_fastest_assignment_at_every_rate() -> None:
    generator = np.random.default_rng(8)
    for _ in range(40):
        setting = random_setting(generator, int(generator.integers(2, 4)))
        boundary = int(generator.integers(0, setting.boundaries))
        setting = replace(setting, links=tuple(replace(link, down_bps=link.rate_bps) for link in setting.links))
        intervals = best_between(setting, boundary, 1e4, 1e9)
        assert [intervals[0].low_bps, intervals[-1].high_bps] == [1e4, 1e9]
        for interval in intervals:
            rate = float(np.sqrt(interval.low_bps * interval.high_bps))
            links = [replace(link, rate_bps=rate) if k == boundary else link for k, link in enumerate(setting.links)]
            truth = everything(replace(setting, links=tuple(links)))
            place = truth.place_of(interval.tiers)
            latency = truth.figures["latency_s"]
            assert latency[place] == pytest.approx(latency.min(), rel=1e-7)


def test_an_impossible_budget_is_named_with_the_least_that_is_possible() -> None:
    planner = Planner(chain((1.0, 0.1, 2000.0), (1.0, 0.1, 2000.0)))
    with pytest.raises(NoFeasiblePlan, match=r"latency_s of at most 0\.5 .* the other budgets allow is 1\.2") as caught:
        planner.plan("energy", {"bytes": 1e6, "latency_s": 0.5})
    assert caught.value.budget == "latency_s"


@pytest.mark.parametrize(
    ("operators", "message"),
    [
        ((Operator("a", (), (0.0,), 1.0),), "seconds for 1 tiers and there are 2"),
        ((Operator("a", (0,), (0.0, 0.0), 1.0),), "reads one that runs later"),
        ((Operator("a", (), (0.0, float("nan")), 1.0),), "must be finite"),
        ((), "has operators"),
    ],
)
def test_settings_that_do_not_fit_are_refused(operators: tuple[Operator, ...], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        Setting(operators, (Tier("device"), Tier("cloud")), (Link(1e6),))


def test_unknown_goals_and_budgets_are_refused_with_those_that_exist() -> None:
    planner = Planner(chain((1.0, 0.1, 20.0)))
    with pytest.raises(InvalidSetting, match="latency, energy, bytes, throughput"):
        planner.plan("speed")
    with pytest.raises(InvalidSetting, match="memory_bytes"):
        planner.plan("latency", {"memory": 1.0})
