"""Which of many points in two figures no other beats."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from partitioner.planning.network import Floats

_SAME = 1e-9
"""Figures closer than this, relatively, are the same figure summed in another order."""


def undominated(values: Floats) -> NDArray[np.intp]:
    """Indices of rows of two figures that no other row beats, by the first figure; of equal rows one."""
    order = np.lexsort((values[:, 1], values[:, 0]))
    second = values[order, 1]
    least_so_far = np.concatenate([[np.inf], np.minimum.accumulate(second)[:-1]])
    kept: NDArray[np.intp] = order[second < least_so_far * (1 - _SAME)]
    return kept
