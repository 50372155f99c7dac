"""Which answers are right: those of the labels, or those that the whole model gives."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.stage import Stage

BATCH: Final = 25


class Judge:
    """Runs the rest of the model and says which answers are right.

    Attributes:
        truth: the right classes, int64 [items].
        own: the whole model's answers, int64 [items].
        whole: share of right ones among them.
    """

    def __init__(self, stage: Stage, items: NDArray[Any], labels: NDArray[np.int64] | None) -> None:
        self.stage = stage
        self.own = self.answers(items, 0)
        self.truth = self.own if labels is None else labels
        self.whole = float((self.own == self.truth).mean())

    def answers(self, activations: NDArray[Any], cut: int) -> NDArray[np.int64]:
        """Classes behind activations of a cut, int64 [items]."""
        parts = [self.stage.run(activations[i : i + BATCH], cut)[0] for i in range(0, len(activations), BATCH)]
        found: NDArray[np.int64] = np.concatenate(parts).argmax(1)
        return found

    def right(self, activations: NDArray[Any], cut: int) -> NDArray[np.bool_]:
        """Which answers behind activations are right, bool [items]."""
        return np.asarray(self.answers(activations, cut) == self.truth)

    def at(self, items: NDArray[Any], cut: int) -> NDArray[Any]:
        """Activations of a cut, [items, ...]."""
        if cut == 0:
            return items
        return np.concatenate([self.stage.run(items[i : i + BATCH], 0, cut)[0] for i in range(0, len(items), BATCH)])
