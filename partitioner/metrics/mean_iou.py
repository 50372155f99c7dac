"""Mean intersection over union of a segmentation (Everingham et al., PASCAL VOC)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

IGNORED = 255
"""A pixel of the truth that does not count."""


class MeanIou:
    """Answers: (logits [classes, height, width], ...); truths: (classes [height, width],).

    Per class, pixels that are both said and true over pixels that are either, over all items; the mean of the classes
    that are said or true anywhere.
    """

    def quality(self, answers: Sequence[Sequence[NDArray[Any]]], truths: Sequence[Sequence[NDArray[Any]]]) -> float:
        classes = len(answers[0][0])
        both, said_at, true_at = (np.zeros(classes, np.int64) for _ in range(3))
        for answer, truth in zip(answers, truths, strict=True):
            counted = truth[0] != IGNORED
            said, true = answer[0].argmax(0)[counted], truth[0][counted]
            both += np.bincount(true[said == true], minlength=classes)
            said_at += np.bincount(said, minlength=classes)
            true_at += np.bincount(true, minlength=classes)
        either = said_at + true_at - both
        return float((both[either > 0] / either[either > 0]).mean()) if either.any() else 1.0

    def truth_of(self, answer: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        return (answer[0].argmax(0),)
