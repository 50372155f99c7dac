"""Mean average precision of a detection as COCO counts it (Lin et al., 2014): overlaps 0.5 to 0.95, 101 recalls.

Left out of COCO's rules: crowds, the limit of 100 boxes per image, and figures by size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

OVERLAPS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
SURE = 0.5
"""Score from which on a box counts as said, where a model's answer is taken for the truth."""


class MeanAveragePrecision:
    """Answers: (boxes [n, 4], scores [n], classes [n]); truths: (boxes [m, 4], classes [m]). A box: two corners.

    The mean over the truth's classes and the overlaps; 1 where there is nothing to find.
    """

    def quality(self, answers: Sequence[Sequence[NDArray[Any]]], truths: Sequence[Sequence[NDArray[Any]]]) -> float:
        classes = np.unique(np.concatenate([truth[1] for truth in truths]))
        found = [_precisions(answers, truths, int(one)) for one in classes]
        return float(np.mean(found)) if found else 1.0

    def truth_of(self, answer: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        boxes, scores, classes = answer[:3]
        return boxes[scores >= SURE], classes[scores >= SURE]


def _precisions(
    answers: Sequence[Sequence[NDArray[Any]]], truths: Sequence[Sequence[NDArray[Any]]], class_: int
) -> NDArray[np.float64]:
    """[overlaps]: average precision of one class."""
    scores: list[NDArray[Any]] = []
    hits: list[NDArray[np.bool_]] = []
    wanted = 0
    for (boxes, score, classes, *_), (true_boxes, true_classes, *_) in zip(answers, truths, strict=True):
        own, true = classes == class_, true_boxes[true_classes == class_]
        order = np.argsort(-score[own], kind="stable")
        scores.append(score[own][order])
        hits.append(_hits(overlap(boxes[own][order], true)))
        wanted += len(true)
    ranked = np.argsort(-np.concatenate(scores), kind="stable")
    right = np.concatenate(hits, axis=1)[:, ranked]
    return np.array([_average(row, wanted) for row in right])


def _hits(overlaps: NDArray[np.float64]) -> NDArray[np.bool_]:
    """[overlaps, boxes]: which boxes, best first, find a true one that no better box has found."""
    hits = np.zeros((len(OVERLAPS), len(overlaps)), np.bool_)
    for level, least in enumerate(OVERLAPS):
        free = np.ones(overlaps.shape[1], np.bool_)
        for box, row in enumerate(overlaps):
            candidates = np.where(free & (row >= least), row, -1.0)
            if candidates.size and candidates.max() >= 0:
                free[candidates.argmax()] = False
                hits[level, box] = True
    return hits


def _average(right: NDArray[np.bool_], wanted: int) -> float:
    """Precision, made monotonous from the right, averaged over the recalls."""
    found = np.cumsum(right)
    precision = found / np.arange(1, len(right) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(found / wanted, RECALLS - 1e-12, side="left")
    return float(np.append(precision, 0.0)[np.minimum(places, len(precision))].mean())


def overlap(boxes: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float64]:
    """[boxes, others]: intersection over union."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(-1)
    areas = [(group[:, 2:] - group[:, :2]).prod(-1) for group in (boxes, others)]
    return np.asarray(common / np.maximum(areas[0][:, None] + areas[1][None, :] - common, 1e-12), np.float64)
