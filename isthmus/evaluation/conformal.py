"""A promise with a probability: thresholds of exits and lowest levels from a stated risk.

The risk is the share of frames whose answer differs from the full model's. Choices stand in a fixed order from the most
careful to the boldest, and each is tested on calibration samples: kept as long as so few disagreements would occur with
a probability of at most `doubt` were the true risk above the stated one. The first that fails ends the walk, so the
choice keeps the risk with probability `1 - doubt` however many were tried (Angelopoulos, Bates, Candes, Jordan and
Lei, "Learn then Test", 2021). It holds for frames like the calibration samples; a scene that drifts voids it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.evaluation.errors import NoPromise

Bools = NDArray[np.bool_]
_MOST_THRESHOLDS = 50


@dataclass(frozen=True, slots=True)
class Promise:
    """A choice that keeps a risk.

    Attributes:
        choice: the exit's threshold, or the number of the level.
        risk: as stated.
        observed: share of calibration samples that disagreed with this choice.
        used: share of samples that left at the exit; 1 for a level.
        samples: of calibration.
    """

    choice: float
    risk: float
    observed: float
    used: float
    samples: int


def exit_threshold(confidence: NDArray[Any], agrees: Bools, *, risk: float, doubt: float = 0.05) -> Promise:
    """The lowest confidence from which an exit's answer may be final.

    Args:
        confidence: of the exit, [samples], higher is surer.
        agrees: whether the exit's answer is the full model's, [samples].

    Raises:
        NoPromise: not even the most confident samples support the risk.
    """
    steps = np.unique(np.quantile(confidence, np.linspace(1, 0, _MOST_THRESHOLDS)))[::-1]
    wrong = [int((~agrees & (confidence >= step)).sum()) for step in steps]
    last = _walk(wrong, len(agrees), risk, doubt)
    used = float((confidence >= steps[last]).mean())
    return Promise(float(steps[last]), risk, wrong[last] / len(agrees), used, len(agrees))


def lowest_level(agrees: Bools, *, risk: float, doubt: float = 0.05) -> Promise:
    """The lowest level whose answers may be trusted.

    Args:
        agrees: whether the answer through a level is the full model's, [levels, samples], smallest level first.

    Raises:
        NoPromise: not even the highest level supports the risk.
    """
    wrong = [int((~level).sum()) for level in agrees[::-1]]
    last = _walk(wrong, agrees.shape[1], risk, doubt)
    return Promise(len(agrees) - 1 - last, risk, wrong[last] / agrees.shape[1], 1.0, agrees.shape[1])


def least_samples(risk: float, doubt: float = 0.05) -> int:
    """Samples below which no promise is possible, even if none disagrees."""
    return math.ceil(math.log(doubt) / math.log1p(-risk))


def _walk(wrong: list[int], samples: int, risk: float, doubt: float) -> int:
    """Place of the last choice before the first that fails its test."""
    if not (0 < risk < 1 and 0 < doubt < 1):
        raise NoPromise(f"risk and doubt must lie between 0 and 1, not {risk} and {doubt}")
    kept = -1
    for place, count in enumerate(wrong):
        if at_most(count, samples, risk) > doubt:
            break
        kept = place
    if kept < 0:
        raise NoPromise(
            f"{wrong[0]} of {samples} samples disagree with the most careful choice, which does not support a risk of "
            f"{risk:.2%}; it takes at least {least_samples(risk, doubt)} samples: add some, or state a higher risk"
        )
    return kept


def at_most(count: int, samples: int, share: float) -> float:
    """Probability of at most `count` successes in `samples` independent trials of probability `share`."""
    logs = [
        math.lgamma(samples + 1) - math.lgamma(k + 1) - math.lgamma(samples - k + 1)
        + k * math.log(share) + (samples - k) * math.log1p(-share)
        for k in range(count + 1)
    ]  # fmt: skip
    return min(1.0, math.fsum(math.exp(log) for log in logs))
