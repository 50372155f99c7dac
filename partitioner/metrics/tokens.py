"""Agreement of tokens, for models that say something about every place of a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

IGNORED = -1
"""A place of the truth that does not count."""


class TokenAgreement:
    """Answers: (logits [places, vocabulary], ...); truths: (tokens [places],). The share of places, over all items,
    whose largest logit is the token's."""

    def quality(self, answers: Sequence[Sequence[NDArray[Any]]], truths: Sequence[Sequence[NDArray[Any]]]) -> float:
        said = np.concatenate([answer[0].argmax(-1).ravel() for answer in answers])
        true = np.concatenate([np.asarray(truth[0]).ravel() for truth in truths])
        counted = true != IGNORED
        return float((said == true)[counted].mean()) if counted.any() else 1.0

    def truth_of(self, answer: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        return (answer[0].argmax(-1),)
