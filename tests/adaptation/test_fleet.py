"""The vectorised form against the scalar one, device by device."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from adaptation.arrays import read_only
from adaptation.fleet import Snapshots, worth_many
from adaptation.goal import Allowance, Goal
from adaptation.hedging import Hedging
from adaptation.plan import Plan, Route
from adaptation.rates import RateChain, RateSettings
from adaptation.snapshot import LinkEstimate, Snapshot, TierState
from adaptation.worth import worth
from tests.adaptation.plans import builtin_plan

PLAN = Plan(tuple(replace(option, joules=3.0 * option.device_s) for option in builtin_plan(Route.EDGE, Route.CLOUD)))
CHAIN = RateChain(RateSettings())


def some_snapshot(chance: random.Random, generator: np.random.Generator) -> Snapshot:
    weights = generator.dirichlet(np.full(CHAIN.rates_bps.size, 0.2))
    now_s = chance.uniform(0, 100)
    link = LinkEstimate(
        rates_bps=CHAIN.rates_bps,
        weights=read_only(weights),
        free_s=read_only(now_s + generator.normal(0.0, 0.2, weights.size)),
        backlog_bytes=0.0,
        base_rtt_s={Route.EDGE: chance.uniform(0.01, 0.1)},
        jitter_s={Route.EDGE: chance.uniform(0.003, 0.02)},
        unanswering=frozenset({Route.CLOUD}) if chance.random() < 0.1 else frozenset(),
    )
    tiers = {Route.EDGE: TierState(chance.random() < 0.9, wait_s=chance.uniform(0, 0.05)), Route.CLOUD: TierState(True)}
    captured_s = now_s - chance.uniform(0, 0.1)
    return Snapshot(
        now_s,
        captured_s + chance.choice([0.1, 0.25, 0.5]),
        now_s + chance.uniform(-0.1, 0.1),
        PLAN,
        link,
        tiers,
        captured_s=captured_s,
        interval_s=chance.choice([None, 0.1, 0.2]),
        importance=chance.choice([1.0, 0.2, 5.0]),
        allowance=chance.choice([None, Allowance(chance.uniform(0.0, 3000.0), chance.uniform(0.0, 1e-3))]),
        spent_s=chance.choice([0.0, 0.06]),
    )


def agree(count: int, seed: int) -> None:
    chance, generator = random.Random(seed), np.random.default_rng(seed)
    goal = Goal(energy_weight=chance.choice([0.0, 0.2]), accuracy_weight=chance.choice([1.0, 0.3]))
    hedging = chance.choice([None, Hedging()])
    snapshots = [some_snapshot(chance, generator) for _ in range(count)]
    together = worth_many(Snapshots.of(snapshots), goal, hedging)
    alone = np.array([worth(one, goal, hedging).utility for one in snapshots])
    np.testing.assert_allclose(together, alone, atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_a_fleet_is_valued_as_each_device_alone(seed: int) -> None:
    agree(500, seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(50))
def test_a_hundred_thousand_devices_are_valued_as_each_alone(seed: int) -> None:
    """Two thousand at a time: each part has the time limit of a test to itself, on a busy machine too."""
    agree(2000, seed)


def test_a_device_that_can_reach_nobody_keeps_its_own_answers() -> None:
    chance, generator = random.Random(1), np.random.default_rng(1)
    lonely = replace(some_snapshot(chance, generator), tiers={})
    utility = worth_many(Snapshots.of([lonely]), Goal())[0]
    assert np.isfinite(utility[PLAN.columns.local]).all()
    assert np.isinf(np.delete(utility, PLAN.columns.local)).all()
