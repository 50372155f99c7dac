"""Fit the learned filter of a head: frames with something to see against frames with nothing.

The threshold is that of a split-conformal test with folds: each example gets its score from a filter that has not seen
its fold, and the threshold is the k-th lowest score of the n examples with something to see, k = (1 - keep)(n + 1)
rounded down. A new frame that is exchangeable with them passes with probability `keep` (Vovk, "Cross-conformal
predictors", 2015; with folds this holds approximately). Folds are stretches of the given order, because neighbouring
frames of a video are alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.filter.neural import NeuralFilter, pool
from isthmus.evaluation.errors import EvaluationError
from runtime.bundle import Bundle
from runtime.engines import Engine
from runtime.stage import Stage

Floats = NDArray[np.float64]

FOLDS = 5
STRENGTH = 0.01
"""Inverse strength of the L2 penalty: there are more weights than examples, as a rule."""


class TooFewExamples(EvaluationError):
    """No threshold could keep what was asked of it."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A filter, and what it did to examples that it had not seen.

    Attributes:
        kept: share of the examples with something to see.
        dropped: share of those with nothing.
    """

    filter: NeuralFilter
    kept: float
    dropped: float


def fit_filter(
    bundle: Bundle,
    engine: Engine,
    something: Sequence[NDArray[Any]],
    nothing: Sequence[NDArray[Any]],
    *,
    cut: int,
    areas: int = 4,
    keep: float = 0.99,
) -> Fitted:
    """Fit and calibrate a filter.

    Args:
        something: inputs as the bundle takes them, without a batch axis, in order of time where they are of a video.
        nothing: the same.
        cut: whose features are used, 1 to the number of segments - 1.
        areas: rows and columns that features are averaged over, at most.
        keep: share of frames with something to see that must pass, below 1.

    Raises:
        TooFewExamples: too few to promise that share.
        BundleError: an input does not fit the model.
    """
    _require_enough(len(something), len(nothing), keep)
    stage = Stage(bundle, engine)
    grid = _grid(bundle.manifest.cuts[cut].tensor.shape, areas)
    pooled = [
        np.concatenate([pool(stage.run(item[np.newaxis], 0, cut)[0], grid) for item in items])
        for items in (something, nothing)
    ]
    return fit_pooled(*pooled, bundle=bundle.digest.hex(), cut=cut, keep=keep)


def fit_pooled(something: Floats, nothing: Floats, *, bundle: str, cut: int, keep: float = 0.99) -> Fitted:
    """The same, from features that have been averaged over areas already, [examples, channels, rows, columns].

    Raises:
        TooFewExamples: too few to promise that share.
    """
    _require_enough(len(something), len(nothing), keep)
    features = np.concatenate([something, nothing]).reshape(len(something) + len(nothing), -1)
    seen = np.arange(len(features)) < len(something)
    scores = _scores_unseen(features, seen)
    threshold = _threshold(scores[seen], keep)
    weights, bias = _fit(features, seen)
    weights_32 = weights.reshape(something.shape[1:]).astype(np.float32)
    made = NeuralFilter(bundle, cut, weights_32, bias, threshold, keep, len(something))
    return Fitted(made, float((scores[seen] >= threshold).mean()), float((scores[~seen] < threshold).mean()))


def _require_enough(something: int, nothing: int, keep: float) -> None:
    least = math.ceil(keep / (1 - keep) - 1e-9)
    if something < least or nothing < FOLDS:
        raise TooFewExamples(
            f"to keep {keep:.4g} of the frames with something to see takes {least} examples of them, and {FOLDS} of "
            f"frames with nothing; there are {something} and {nothing}: give more, or a smaller --keep"
        )


def _grid(shape: Sequence[int], areas: int) -> tuple[int, int]:
    return (min(areas, shape[1]), min(areas, shape[2])) if len(shape) == 3 else (1, 1)


def _threshold(scores: Floats, keep: float) -> float:
    place = math.floor((1 - keep) * (len(scores) + 1) + 1e-9)
    return float(np.sort(scores)[place - 1])


def _scores_unseen(features: Floats, seen: NDArray[np.bool_]) -> Floats:
    """Of each example, by a filter fitted without its fold."""
    folds = np.empty(len(seen), int)
    for kind in (seen, ~seen):
        places = np.flatnonzero(kind)
        folds[places] = np.arange(len(places)) * FOLDS // len(places)
    scores = np.empty(len(seen))
    for fold in range(FOLDS):
        weights, bias = _fit(features[folds != fold], seen[folds != fold])
        scores[folds == fold] = features[folds == fold] @ weights + bias
    return scores


def _fit(features: Floats, seen: NDArray[np.bool_]) -> tuple[Floats, float]:
    """Weights and bias of a logistic regression, for features as they are."""
    from sklearn.linear_model import LogisticRegression

    centre, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
    fitted = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=2000).fit(
        (features - centre) / scale, seen
    )
    weights: Floats = fitted.coef_[0] / scale
    return weights, float(fitted.intercept_[0] - weights @ centre)
