"""A rollout follows from its figures alone: bad bundles come back, good ones get everywhere."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cloud.control.figures import BUCKETS, Figures, bucket_of, upper_s
from cloud.control.rollouts import Action, Progress, Rules, Seen, canaries, judge

RULES = Rules(steps=(0.1, 1.0), hold_s=60.0, min_frames=100, give_up_s=1000.0)
BEGUN = Progress(RULES, 0, 0.0)


def drawn(
    frames: int, seed: int, *, right: float = 0.9, in_time: float = 0.99, failed: float = 0.0, median_s: float = 0.05
) -> Figures:
    """Figures of devices whose frames have these properties."""
    random = np.random.default_rng(seed)
    latency = np.bincount([bucket_of(s) for s in random.lognormal(np.log(median_s), 0.3, frames)], minlength=BUCKETS)
    return Figures(
        frames=frames, answered=frames, in_time=random.binomial(frames, in_time),
        failed=random.binomial(frames, failed), known=frames, right=random.binomial(frames, right),
        latency=tuple(map(int, latency)),
    )  # fmt: skip


BASELINE = drawn(5000, 1)


def seen(canary: Figures, refused: int = 0) -> Seen:
    return Seen(canary, BASELINE, canaries=20, refused=refused)


@pytest.mark.parametrize(
    ("worse", "word"),
    [
        ({"right": 0.8}, "wrong answers"),
        ({"in_time": 0.85}, "not answered in time"),
        ({"failed": 0.08}, "failed frames"),
        ({"median_s": 0.15}, "later than"),
    ],
)
def test_each_kind_of_bad_bundle_is_taken_back_and_the_reason_is_told(worse, word):
    verdict = judge(BEGUN, seen(drawn(400, 2, **worse)), 10.0)
    assert verdict.action is Action.ROLL_BACK
    assert word in verdict.reason


def test_a_bundle_that_is_as_good_is_not_taken_back_by_chance():
    """Two hundred rollouts of a bundle that is no worse, each looked at five times as frames come in."""
    taken_back = 0
    for seed in range(200):
        for frames in (20, 60, 150, 400, 1000):
            taken_back += judge(BEGUN, seen(drawn(frames, 1000 + seed)), 10.0).action is Action.ROLL_BACK
    assert taken_back <= 2


def test_a_good_bundle_waits_widens_and_completes():
    good = drawn(400, 3)
    assert judge(BEGUN, seen(drawn(50, 3)), 100.0).action is Action.WAIT, "too few frames"
    assert judge(BEGUN, seen(good), 59.0).action is Action.WAIT, "held for a while"
    assert judge(BEGUN, seen(good), 61.0).action is Action.ADVANCE
    assert judge(replace(BEGUN, step=1), seen(good), 61.0).action is Action.COMPLETE


def test_what_never_shows_itself_is_taken_back():
    verdict = judge(BEGUN, seen(Figures()), 1001.0)
    assert verdict.action is Action.ROLL_BACK
    assert "0 of 100 frames" in verdict.reason


def test_devices_that_refuse_it_take_it_back():
    assert judge(BEGUN, seen(Figures(), refused=2), 1.0).action is Action.WAIT
    assert judge(BEGUN, seen(Figures(), refused=3), 1.0).action is Action.ROLL_BACK


def test_where_nobody_else_knows_right_answers_the_manifests_promise_counts():
    poor = drawn(400, 4, right=0.6)
    alone = Seen(poor, Figures(), canaries=1, refused=0, promised_accuracy=0.9)
    assert judge(BEGUN, alone, 10.0).action is Action.ROLL_BACK
    assert judge(BEGUN, replace(alone, promised_accuracy=None), 10.0).action is Action.WAIT


@given(
    names=st.sets(st.text("abcdefgh0123456789", min_size=1, max_size=8), min_size=1, max_size=60),
    shares=st.lists(st.floats(0.01, 1.0), min_size=2, max_size=5),
)
@settings(max_examples=60, deadline=None)
def test_a_wider_step_keeps_every_canary(names, shares):
    chosen = [canaries("some-rollout", names, share) for share in sorted(shares)]
    for narrow, wide in itertools.pairwise(chosen):
        assert set(narrow) <= set(wide)
    assert len(chosen[0]) >= 1
    assert set(canaries("some-rollout", names, 1.0)) == names


def test_rollouts_begin_with_different_devices():
    names = [f"device-{number}" for number in range(100)]
    assert canaries("one", names, 0.1) != canaries("two", names, 0.1)
    assert len(canaries("one", names, 0.1)) == 10


@pytest.mark.parametrize("steps", [[0.5], [0.5, 0.2, 1.0], [0.0, 1.0], [0.5, 0.5, 1.0], []])
def test_steps_grow_and_end_with_everyone(steps):
    with pytest.raises(ValidationError):
        Rules.model_validate({"steps": steps})


@given(st.floats(1e-6, 1000.0))
def test_a_latency_is_in_the_bucket_that_holds_it(latency_s):
    bucket = bucket_of(latency_s)
    if bucket < BUCKETS - 1:
        assert latency_s <= upper_s(bucket) * (1 + 1e-9)
    if bucket > 0:
        assert latency_s > upper_s(bucket - 1) * (1 - 1e-9)


def test_quantiles_are_those_of_the_sample_to_a_bucket():
    sample = np.random.default_rng(5).lognormal(-3, 0.5, 2000)
    found = np.bincount([bucket_of(s) for s in sample], minlength=BUCKETS)
    figures = Figures(answered=2000, latency=tuple(map(int, found)))
    for share in (0.5, 0.95):
        truth = float(np.quantile(sample, share))
        assert truth / 1.2 <= (figures.quantile_s(share) or 0.0) <= truth * 1.2


def test_figures_add_and_subtract():
    one, two = drawn(30, 6), drawn(50, 7)
    assert (one + two) - two == one
    assert (one - two).frames == 0, "a device that counts anew takes nothing away"
