"""Metrics against figures counted by hand, by scikit-learn, and by another way to count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, jaccard_score

from partitioner.errors import UnknownMetric
from partitioner.metrics import (
    MeanAveragePrecision,
    MeanIou,
    Metric,
    TokenAgreement,
    Top1,
    agreement,
    metric_named,
)
from partitioner.metrics.mean_average_precision import OVERLAPS, overlap

Arrays = Sequence[NDArray[Any]]
RANDOM = np.random.default_rng(0)


def test_top_1_equals_scikit_learn() -> None:
    logits, classes = RANDOM.standard_normal((50, 5)), RANDOM.integers(0, 5, 50)
    found = Top1().quality([(row,) for row in logits], [(np.asarray(one),) for one in classes])
    assert found == pytest.approx(accuracy_score(classes, logits.argmax(1)))


def test_token_agreement_leaves_out_what_does_not_count() -> None:
    logits = np.eye(4)[[0, 1, 2, 3]]
    assert TokenAgreement().quality([(logits,)], [(np.array([0, 1, 0, -1]),)]) == pytest.approx(2 / 3)


def test_mean_iou_equals_scikit_learn_over_all_pixels() -> None:
    logits, truths = RANDOM.standard_normal((3, 4, 6, 7)), RANDOM.integers(0, 4, (3, 6, 7))
    truths[0, :2] = 255
    found = MeanIou().quality([(one,) for one in logits], [(one,) for one in truths])
    counted = truths != 255
    expected = jaccard_score(truths[counted], logits.argmax(1)[counted], average="macro")
    assert found == pytest.approx(expected)


def boxes(*corners: tuple[float, float, float, float]) -> NDArray[np.float64]:
    return np.array(corners, np.float64).reshape(-1, 4)


def test_overlap_is_intersection_over_union() -> None:
    assert overlap(boxes((0, 0, 2, 2)), boxes((1, 1, 3, 3), (0, 0, 2, 2), (5, 5, 6, 6)))[0] == pytest.approx(
        [1 / 7, 1.0, 0.0]
    )


def test_average_precision_counted_by_hand() -> None:
    # Two true boxes. Best first: a miss, the first found (precision 1/2), the second found (2/3). Precision from the
    # right is 2/3 at every recall.
    truth = (boxes((0, 0, 10, 10), (20, 20, 30, 30)), np.array([1, 1]))
    said = (boxes((50, 50, 60, 60), (0, 0, 10, 10), (20, 20, 30, 30)), np.array([0.9, 0.8, 0.7]), np.array([1, 1, 1]))
    assert MeanAveragePrecision().quality([said], [truth]) == pytest.approx(2 / 3)
    # A box that is found twice counts once; the second is a miss behind recall 1/2: 51 of 101 recalls at precision 1.
    twice = (boxes((0, 0, 10, 10), (0, 0, 10, 10)), np.array([0.9, 0.8]), np.array([1, 1]))
    assert MeanAveragePrecision().quality([twice], [truth]) == pytest.approx(51 / 101)
    # Overlap 0.8 is enough for 7 of the 10 levels.
    loose = (boxes((0, 0, 10, 8), (20, 20, 30, 30)), np.array([0.9, 0.8]), np.array([1, 1]))
    assert overlap(loose[0][:1], truth[0][:1])[0, 0] == pytest.approx(0.8)
    assert MeanAveragePrecision().quality([loose], [truth]) == pytest.approx((7 + 3 * 51 / 101 / 2) / 10)


def slow_average_precision(answers: Sequence[Arrays], truths: Sequence[Arrays], class_: int, least: float) -> float:
    """One box at a time, one recall at a time."""
    ranked = sorted(
        (
            (-float(score), image, place)
            for image, (_, scores, classes) in enumerate(answers)
            for place, (score, one) in enumerate(zip(scores, classes, strict=True))
            if one == class_
        )
    )
    wanted = sum(int((classes == class_).sum()) for _, classes in truths)
    taken: set[tuple[int, int]] = set()
    curve, right = [], 0
    for rank, (_, image, place) in enumerate(ranked, start=1):
        best, at = 0.0, -1
        for number, (box, one) in enumerate(zip(*truths[image], strict=True)):
            share = float(overlap(answers[image][0][place][None], box[None])[0, 0])
            if one == class_ and (image, number) not in taken and share >= least and share > best:
                best, at = share, number
        if at >= 0:
            taken.add((image, at))
            right += 1
        curve.append((right / wanted, right / rank))
    precisions = [max((p for r, p in curve if r >= recall - 1e-12), default=0.0) for recall in np.linspace(0, 1, 101)]
    return float(np.mean(precisions))


def test_mean_average_precision_equals_another_way_to_count() -> None:
    def some(count: int) -> NDArray[np.float64]:
        corners = RANDOM.uniform(0, 20, (count, 2))
        return np.concatenate([corners, corners + RANDOM.uniform(5, 15, (count, 2))], axis=1)

    answers: list[Arrays] = []
    truths: list[Arrays] = []
    for _ in range(6):
        true = some(4)
        said = np.concatenate([true + RANDOM.normal(0, 1.0, true.shape), some(3)])
        answers.append((said, RANDOM.permutation(7) / 7 + RANDOM.uniform(0, 0.1, 7), RANDOM.integers(0, 2, 7)))
        truths.append((true, RANDOM.integers(0, 2, 4)))
    slow = [slow_average_precision(answers, truths, one, least) for one in (0, 1) for least in OVERLAPS]
    found = MeanAveragePrecision().quality(answers, truths)
    assert 0 < found < 1
    assert found == pytest.approx(np.mean(slow))


@pytest.mark.parametrize(
    ("metric", "answer"),
    [
        (Top1(), (np.array([0.1, 0.9]),)),
        (TokenAgreement(), (RANDOM.standard_normal((5, 9)),)),
        (MeanIou(), (RANDOM.standard_normal((3, 4, 4)),)),
        (MeanAveragePrecision(), (boxes((0, 0, 5, 5), (9, 9, 12, 12)), np.array([0.9, 0.6]), np.array([1, 2]))),
    ],
)
def test_every_answer_agrees_with_itself_and_not_with_another(metric: Metric, answer: Arrays) -> None:
    assert agreement(metric, [answer], [answer]) == 1.0
    other = [*answer[:-1], np.roll(answer[-1], 1, axis=0)]
    assert agreement(metric, [other], [answer]) < 1.0


def test_an_unknown_metric_names_the_nearest() -> None:
    assert isinstance(metric_named("mean IoU"), MeanIou)
    with pytest.raises(UnknownMetric, match="did you mean 'top-1'"):
        metric_named("top1")
