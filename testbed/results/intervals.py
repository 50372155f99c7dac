"""How well a mean over repetitions is known."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

T_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""0.975 quantile of Student's t for 1, 2, ... degrees of freedom."""
_NORMAL_975 = 1.960


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and half the width of its 95 % confidence interval; None where one value says nothing about it."""

    mean: float
    half: float | None


def interval(values: Sequence[float]) -> Interval:
    """Student's t interval of independent repetitions, at least one."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Interval(mean, None)
    freedom = len(values) - 1
    quantile = T_975[freedom - 1] if freedom <= len(T_975) else _NORMAL_975
    return Interval(mean, quantile * statistics.stdev(values) / math.sqrt(len(values)))
