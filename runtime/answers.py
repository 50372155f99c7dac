"""From logits to an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Answer:
    """A class and how sure the model is of it.

    Attributes:
        label: index of the class.
        confidence: its softmax probability, 0 to 1.
    """

    label: int
    confidence: float


def answers_of(logits: NDArray[Any]) -> list[Answer]:
    """One answer for each row of logits, [batch, classes].

    Raises:
        ValueError: not two axes, or no classes.
    """
    if logits.ndim != 2 or logits.shape[1] == 0:
        raise ValueError(f"logits are [batch, classes], not {list(logits.shape)}")
    wide = logits.astype(np.float64)
    weights = np.exp(wide - wide.max(axis=1, keepdims=True))
    probabilities = weights / weights.sum(axis=1, keepdims=True)
    labels = probabilities.argmax(axis=1)
    return [Answer(int(label), float(row[label])) for row, label in zip(probabilities, labels, strict=True)]


def answer_of(logits: NDArray[Any]) -> Answer:
    """The answer for one item, [classes] or [1, classes].

    Raises:
        ValueError: more than one item.
    """
    (answer,) = answers_of(logits.reshape(1, -1) if logits.ndim == 1 else logits)
    return answer
