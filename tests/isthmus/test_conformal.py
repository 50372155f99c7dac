"""Promised risks, against the known truth of made-up exits and over many random splits."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from isthmus.evaluation.conformal import at_most, exit_threshold, least_samples, lowest_level
from isthmus.evaluation.errors import NoPromise

RISK = 0.02


def population(count: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Confidences, and agreement that is the likelier the higher they are."""
    generator = np.random.default_rng(seed)
    confidence = generator.beta(3, 1, count)
    return confidence, generator.random(count) < 1 - 0.4 * (1 - confidence) ** 1.5


def lower_bound(wrong: int, samples: int) -> float:
    """One-sided 95 % Clopper-Pearson bound."""
    return float(stats.beta.ppf(0.05, wrong, samples - wrong + 1)) if wrong else 0.0


def test_over_100_splits_the_lower_bound_of_the_test_exceeds_the_risk_in_at_most_5() -> None:
    confidence, agrees = population(3000, seed=1)
    exceeded, used = 0, []
    for split in range(100):
        order = np.random.default_rng(split).permutation(3000)
        seen, fresh = order[:1500], order[1500:]
        promise = exit_threshold(confidence[seen], agrees[seen], risk=RISK)
        wrong = int((~agrees[fresh] & (confidence[fresh] >= promise.choice)).sum())
        exceeded += lower_bound(wrong, 1500) > RISK
        used.append(promise.used)
    assert exceeded <= 5
    assert np.mean(used) > 0.4  # a threshold that lets nothing leave would keep every promise


def test_the_true_risk_exceeds_the_stated_one_no_more_often_than_the_doubt() -> None:
    everyone, truly = population(400_000, seed=2)
    beyond = 0
    for draw in range(200):
        confidence, agrees = population(800, seed=100 + draw)
        threshold = exit_threshold(confidence, agrees, risk=RISK).choice
        beyond += float((~truly & (everyone >= threshold)).mean()) > RISK
    assert beyond <= 17  # 200 draws of 5 %: exceeded in 1 of 50 runs


def test_the_lowest_level_that_keeps_the_risk_is_chosen() -> None:
    generator = np.random.default_rng(3)
    agrees = np.stack([generator.random(2000) < share for share in (0.9, 0.97, 0.992, 0.999)])
    promise = lowest_level(agrees, risk=RISK)
    assert promise.choice == 2
    assert promise.observed < RISK


def test_too_few_samples_or_too_bad_answers_promise_nothing() -> None:
    with pytest.raises(NoPromise, match="at least 149 samples"):
        lowest_level(np.ones((2, 100), bool), risk=RISK)
    with pytest.raises(NoPromise, match="higher risk"):
        lowest_level(np.zeros((2, 500), bool), risk=RISK)
    assert lowest_level(np.ones((2, least_samples(RISK)), bool), risk=RISK).choice == 0


@pytest.mark.parametrize(("count", "samples", "share"), [(0, 10, 0.1), (7, 400, 0.02), (30, 2000, 0.01), (5, 5, 0.4)])
def test_binomial_sums_are_those_of_scipy(count: int, samples: int, share: float) -> None:
    assert at_most(count, samples, share) == pytest.approx(stats.binom.cdf(count, samples, share), rel=1e-9)
