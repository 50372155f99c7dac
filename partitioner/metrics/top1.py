"""Top-1 accuracy of a classification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Top1:
    """Answers: (logits [classes], ...); truths: (class,). The share of items whose largest logit is the class's."""

    def quality(self, answers: Sequence[Sequence[NDArray[Any]]], truths: Sequence[Sequence[NDArray[Any]]]) -> float:
        right = [int(answer[0].argmax()) == int(truth[0]) for answer, truth in zip(answers, truths, strict=True)]
        return float(np.mean(right))

    def truth_of(self, answer: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        return (np.asarray(answer[0].argmax()),)
