"""Arrays as they are kept in values: float64, and not to be written to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def read_only(values: object) -> FloatArray:
    """A float64 copy that refuses writes."""
    array = np.array(values, dtype=np.float64)
    array.flags.writeable = False
    return array
