"""Simulated runs and the oracle against brute force, against each other, and against what may never happen."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from adaptation.decision import Decision
from adaptation.goal import Goal
from adaptation.hedging import Hedging
from adaptation.plan import Choice, Plan, Route
from adaptation.policies import DeadlinePolicy, FixedPolicy
from adaptation.policies.contention import slowed
from adaptation.policies.spinn import SpinnPolicy
from adaptation.snapshot import Snapshot
from testbed.simulation.conditions import Conditions
from testbed.simulation.hindsight import fixed_utilities
from testbed.simulation.oracle import foresee, undominated
from testbed.simulation.run import Simulation
from testbed.simulation.supply import Supply, steps
from testbed.simulation.tables import TABLES, light, of_bundle
from tests.runtime.tiny_bundle import TinyBundle

GOAL = Goal(latency_weight=0.0)
MOVING = steps([(3.0, 5e6), (3.0, 4e5), (3.0, 0.0), (3.0, 2e6), (2.0, 1e5), (6.0, 3e6)])


@dataclass
class Given:
    """Chooses what it was given for each frame, by its capture time."""

    choices: Sequence[Choice | None]
    interval_s: float = 0.1

    def decide(self, snapshot: Snapshot) -> Decision:
        assert snapshot.captured_s is not None
        return Decision(self.choices[round(snapshot.captured_s / self.interval_s)], 0.0, 1.0, "given")


def conditions(supply: Supply = MOVING, **changes: object) -> Conditions:
    usual = Conditions(plan=light(), supply=supply, seconds=20.0, deadline_s=0.25)
    return replace(usual, **changes)  # type: ignore[arg-type]


def hedged(given: Conditions, hedging: Hedging | None = None) -> Simulation:
    return Simulation(replace(given, held_back_bytes=0.0), DeadlinePolicy(GOAL, hedging or Hedging()))


@pytest.mark.parametrize("seed", range(12))
def test_the_oracle_equals_brute_force_on_small_cases(seed: int) -> None:
    chance = random.Random(seed)
    plan = TABLES[chance.choice(["L", "HW", "mobilenet"])]()
    few = Plan((*chance.sample(plan.options[-16:], 3), plan.options[0]))
    supply = steps([(chance.uniform(0.05, 0.3), chance.choice([0.0, 1e5, 1e6, 5e6])) for _ in range(6)])
    given = Conditions(plan=few, supply=supply, seconds=0.4, deadline_s=chance.choice([0.1, 0.25, 0.5]))
    every = [None, *(option.choice for option in few)]
    runs = (
        Simulation(given, Given(choices), learns=False).go().utility for choices in itertools.product(every, repeat=4)
    )
    foreseen = foresee(given, tolerance=0.0)
    assert foreseen.utility == pytest.approx(max(runs))
    assert Simulation(given, Given(foreseen.choices), learns=False).go().utility == pytest.approx(foreseen.utility)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.slow
def test_the_oracles_own_plan_gives_what_it_foresees_and_nobody_does_better(table: str) -> None:
    for deadline_s in (0.1, 0.25, 0.5):
        given = conditions(plan=TABLES[table](), deadline_s=deadline_s)
        foreseen = foresee(given)
        played = Simulation(given, Given(foreseen.choices), learns=False).go()
        assert played.utility == pytest.approx(foreseen.utility, abs=1e-9)
        policy = Simulation(given, DeadlinePolicy(GOAL)).go()
        assert policy.utility <= foreseen.utility + 1e-4
        assert max(fixed_utilities(given)) <= foreseen.utility + 1e-4


def test_a_bundles_own_table_is_that_of_a_device_as_slow_as_said(tiny_bundle: TinyBundle) -> None:
    plan = of_bundle(tiny_bundle.path, 0.12)
    whole = plan.find(Choice(3, None, Route.DEVICE))
    assert whole is not None
    assert whole.device_s == pytest.approx(0.12)
    assert {option.choice.route for option in plan} == {Route.DEVICE, Route.EDGE}
    given = conditions(plan=plan, seconds=5.0)
    assert Simulation(given, DeadlinePolicy(GOAL)).go().utility <= foresee(given).utility + 1e-4


def test_the_oracle_looks_only_at_options_that_can_be_the_best() -> None:
    useful = TABLES["mobilenet"]()
    worse = [
        replace(option, choice=Choice(9, place, Route.EDGE), payload_bytes=option.payload_bytes + 1.0, head_s=None)
        for place, option in enumerate(useful.options[2:])
    ]
    given = conditions(plan=Plan((*worse, *useful)))
    assert set(undominated(given)) == set(useful)
    assert foresee(given).utility == foresee(replace(given, plan=useful)).utility


def test_a_choice_held_by_hindsight_does_as_in_a_simulated_run() -> None:
    for deadline_s in (0.1, 0.25):
        given = conditions(deadline_s=deadline_s)
        for option, utility in zip(given.plan, fixed_utilities(given), strict=True):
            run = Simulation(given, Given([option.choice] * 200), learns=False).go()
            assert run.utility == pytest.approx(float(utility), abs=1e-9)


def test_a_run_comes_to_what_arithmetic_has_it() -> None:
    choice, line = Choice(1, 0, Route.EDGE), steps([(6.0, 4e6)])
    given = conditions(line, downlink=line, seconds=5.0, one_way_s=0.016, jitter_s=0.0)
    run, option = Simulation(given, FixedPolicy(choice)).go(), light().find(choice)
    assert option is not None
    taken_s = option.device_s + 8 * (option.message_bytes + option.result_bytes) / 4e6 + 0.032 + option.tier_s
    for frame in run.frames:
        assert frame.done_s is not None
        assert frame.done_s - frame.captured_s == pytest.approx(taken_s, abs=1e-6)
        assert frame.choice == choice
    assert len(run.frames) == 50
    assert run.missed == 0
    assert (run.sent_bytes - run.probe_bytes) / len(run.frames) == pytest.approx(option.message_bytes)


def test_a_run_repeats_exactly_and_another_seed_does_not() -> None:
    first, second, third = (hedged(conditions(jitter_s=0.005, seed=seed)).go() for seed in (1, 1, 2))
    assert first == second
    assert first != third


@pytest.mark.parametrize("table", TABLES)
def test_with_hedges_no_result_is_delivered_twice_and_fewer_frames_stay_unanswered(table: str) -> None:
    for deadline_s in (0.1, 0.25, 0.5):
        given = conditions(plan=TABLES[table](), deadline_s=deadline_s, jitter_s=0.002)
        with_, without = hedged(given).go(), Simulation(given, DeadlinePolicy(GOAL)).go()
        assert max(frame.delivered for frame in with_.frames) == 1
        assert all(
            frame.done_s is None or frame.done_s <= frame.captured_s + deadline_s + 1e-9 for frame in with_.frames
        )
        assert with_.missed <= without.missed
        assert with_.utility >= without.utility - 0.003


@pytest.mark.parametrize("table", ["L", "HW"])
@pytest.mark.parametrize("phase_s", [0.0, 0.03, 0.07])
def test_at_the_onset_of_an_outage_hedging_leaves_no_frame_unanswered(table: str, phase_s: float) -> None:
    begins_s = 5.0 + phase_s
    given = conditions(steps([(begins_s, 5e6), (6.0, 0.0), (8.0, 5e6)]), plan=TABLES[table]())
    run = hedged(given).go()
    assert not [frame for frame in run.frames if begins_s - 0.25 <= frame.captured_s < 11.0 and not frame.delivered]
    plain = Simulation(given, DeadlinePolicy(GOAL)).go()
    lost = [frame for frame in plain.frames if begins_s - 0.25 <= frame.captured_s < 11.0 and not frame.delivered]
    assert len(lost) <= 3


def test_cancelling_leaves_no_stale_bytes_to_delay_what_follows() -> None:
    given = conditions(steps([(5.0, 5e6), (1.0, 0.0), (14.0, 5e6)]), plan=TABLES["HW"](), deadline_s=0.5)
    careless = Goal(latency_weight=0.0, link_weight=0.0)
    after = [
        sum(frame.accuracy for frame in run.frames if 6.0 <= frame.captured_s < 7.0)
        for run in (
            Simulation(replace(given, held_back_bytes=0.0), DeadlinePolicy(careless, Hedging())).go(),
            Simulation(given, DeadlinePolicy(careless)).go(),
        )
    ]
    assert after[0] > after[1]


def test_probes_tell_a_slow_link_from_a_far_tier() -> None:
    """On a link too slow for any frame of the plan only probes are answered in time, and the device answers alone."""
    given = conditions(steps([(40.0, 6e4)]), plan=TABLES["HW"](), seconds=30.0)
    simulation = Simulation(given, DeadlinePolicy(GOAL))
    run = simulation.go()
    link = simulation.estimator.estimate(30.0)
    assert link.base_rtt_s[Route.EDGE] < 0.06
    assert 3e4 < link.mean_bps() < 3e5
    assert sum(frame.accuracy for frame in run.frames[50:]) / 250 > 0.65


@pytest.mark.parametrize("table", ["L", "HW", "mobilenet"])
def test_probes_are_less_than_a_hundredth_of_the_bytes_of_a_run_with_an_outage(table: str) -> None:
    run = hedged(conditions(steps([(6.0, 5e6), (4.0, 0.0), (10.0, 5e6)]), plan=TABLES[table]())).go()
    assert run.probe_bytes < 0.01 * run.sent_bytes


def test_a_dearer_device_hedges_less() -> None:
    spent = [
        sum(frame.hedge_s for frame in hedged(conditions(), Hedging(price=price)).go().frames)
        for price in (0.001, 0.2, 50.0)
    ]
    assert spent[0] > spent[1] > spent[2] == 0.0


@pytest.mark.parametrize("rate_bps", [6e4, 2e5, 6e5, 2e6])
def test_on_a_constant_link_the_choice_changes_less_than_once_a_second(rate_bps: float) -> None:
    for table in ("L", "HW"):
        given = conditions(steps([(40.0, rate_bps)]), plan=TABLES[table](), seconds=30.0)
        chosen = [frame.choice for frame in hedged(given).go().frames[20:] if frame.choice]
        assert sum(one != other for one, other in itertools.pairwise(chosen)) < 28


@pytest.mark.parametrize("table", ["L", "HW", "builtin"])
def test_under_contention_the_choice_is_right_again_within_ten_frames(table: str) -> None:
    plan = TABLES[table]()
    given = conditions(steps([(60.0, 3e6)]), plan=plan, slowdown=lambda now_s: 2.0 if now_s >= 5.0 else 1.0)
    run = hedged(given).go()
    knowing = hedged(conditions(steps([(60.0, 3e6)]), plan=slowed(plan, 2.0), seconds=14.0)).go()
    since = [frame.accuracy for frame in run.frames if frame.captured_s >= 6.0]
    assert sum(since) / len(since) >= 0.98 * knowing.utility
    best = foresee(conditions(steps([(60.0, 3e6)]), plan=slowed(plan, 2.0), seconds=14.0)).utility
    assert sum(since) / len(since) >= 0.9 * best


def test_of_an_exit_asked_first_the_sure_frames_end_there_and_the_others_go_on() -> None:
    given = conditions(steps([(20.0, 5e6)]), plan=TABLES["mobilenet"]())
    mixed = replace(given, confidence=lambda index: 0.99 if index % 2 else 0.3)
    frames = Simulation(mixed, SpinnPolicy(threshold=0.9)).go().frames
    asked = [frame for frame in frames if frame.by is not None]
    assert {frame.by.route for frame in asked[1::2] if frame.by} == {Route.DEVICE}
    assert {frame.accuracy for frame in asked[1::2]} == {0.99}
    assert Route.EDGE in {frame.by.route for frame in asked[0::2] if frame.by}
    never = Simulation(given, SpinnPolicy(threshold=0.9)).go()
    assert not [frame for frame in never.frames if frame.by is not None and frame.accuracy == 0.99]


def test_with_nothing_but_the_device_it_answers_alone() -> None:
    given = conditions(plan=Plan(light().options[:1]))
    run = hedged(given).go()
    assert run.missed == 0
    assert run.sent_bytes == 0
    assert all(frame.by is not None and frame.by.route is Route.DEVICE for frame in run.frames)
