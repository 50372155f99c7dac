"""Promised risks, against the known truth of made-up exits and over many random splits."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from isthmus.builtin import digits
from isthmus.builtin.demo import BUNDLE
from isthmus.evaluation.conformal import at_most, exit_threshold, least_samples, lowest_level
from isthmus.evaluation.errors import NoPromise
from runtime.answers import answers_of
from runtime.bundle import Bundle
from runtime.engines import engine_named
from runtime.stage import Stage

RISK = 0.02


def population(count: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Confidences, and agreement that is the likelier the higher they are."""
    generator = np.random.default_rng(seed)
    confidence = generator.beta(3, 1, count)
    return confidence, generator.random(count) < 1 - 0.4 * (1 - confidence) ** 1.5


def lower_bound(wrong: int, samples: int) -> float:
    """One-sided 95 % Clopper-Pearson bound."""
    return float(stats.beta.ppf(0.05, wrong, samples - wrong + 1)) if wrong else 0.0


def over_100_halvings(confidence: NDArray[np.float64], agrees: NDArray[np.bool_]) -> tuple[int, float]:
    """How often the lower bound of one half's risk exceeds what the other half promised, and the share that left."""
    exceeded, used = 0, []
    half = len(agrees) // 2
    for split in range(100):
        order = np.random.default_rng(split).permutation(2 * half)
        seen, fresh = order[:half], order[half:]
        promise = exit_threshold(confidence[seen], agrees[seen], risk=RISK)
        wrong = int((~agrees[fresh] & (confidence[fresh] >= promise.choice)).sum())
        exceeded += lower_bound(wrong, half) > RISK
        used.append(promise.used)
    return exceeded, float(np.mean(used))


def test_over_100_splits_the_lower_bound_of_the_test_exceeds_the_risk_in_at_most_5() -> None:
    exceeded, used = over_100_halvings(*population(3000, seed=1))
    assert exceeded <= 5
    assert used > 0.4  # a threshold that lets nothing leave would keep every promise


@pytest.mark.slow
def test_over_100_splits_the_exit_of_the_built_in_model_keeps_its_promise_too() -> None:
    """Real answers of its exit beside those of the whole model, on pictures that nothing was fitted to."""
    confidences, agrees = [], []
    with Bundle.open(BUNDLE) as bundle:
        stage = Stage(bundle, engine_named("onnxruntime", 1))
        (exit_,) = bundle.manifest.exits
        for start in range(0, 2000, 50):
            pictures, _ = digits.arrays("test", 50, start=5_000_000 + start)
            activations = stage.run(pictures, 0, exit_.cut)[0]
            whole = stage.run(activations, exit_.cut)[0].argmax(1)
            for answer, label in zip(answers_of(stage.exit(exit_.cut, activations)), whole, strict=True):
                confidences.append(answer.confidence)
                agrees.append(answer.label == label)
    exceeded, used = over_100_halvings(np.array(confidences), np.array(agrees))
    assert exceeded <= 5
    assert used > 0.4


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
