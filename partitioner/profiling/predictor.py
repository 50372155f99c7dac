"""Seconds of segments on a machine of which only a few measurements exist.

A segment's seconds are a sum of positive terms: what it takes on a reference machine, its multiply-accumulates, the
bytes it reads and writes, its weights, and one call. How much each term counts differs from machine to machine; what is
usual is learned from machines that are known well, and about ten measurements adapt it to a new one. That is the idea
of HELP (Lee et al., NeurIPS 2021), whose meta-learned network is here a prior over five coefficients: a segment needs
no picture of its architecture, for it has been timed on the reference machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from partitioner.profiling.machine import SegmentFigures

Floats = NDArray[np.float64]

_UNITS = np.array([1.0, 1e-9, 1e-9, 1e-9, 1e-5])
"""Seconds per reference second, multiply-accumulate, byte moved, byte of weights, call, where a coefficient is 1."""
_NOISE = 0.1
"""Standard deviation of the logarithm of one measurement around the model."""


@dataclass(frozen=True, slots=True)
class Prior:
    """What coefficients are usual: mean and standard deviation of their logarithms, [terms]."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]


BROAD = Prior((0.0, -4.0, -4.0, -4.0, -2.0), (2.0, 2.0, 2.0, 2.0, 2.0))
"""A machine that is like the reference, give or take a factor of seven, and little else."""


@dataclass(frozen=True, slots=True)
class Predictor:
    """One machine: `coefficients`, [terms], all positive."""

    coefficients: tuple[float, ...]

    def seconds(self, segments: Sequence[SegmentFigures]) -> list[float]:
        """Predicted seconds of segments that say what they take on the reference machine."""
        predicted: Floats = terms_of(segments) @ np.array(self.coefficients)
        return [float(value) for value in predicted]


def terms_of(segments: Sequence[SegmentFigures]) -> Floats:
    """[segments, terms], before coefficients.

    Raises:
        ValueError: a segment without seconds on the reference machine.
    """
    rows = []
    for segment in segments:
        if segment.reference_s is None:
            raise ValueError(f"the segment after {segment.after!r} has no seconds on a reference machine")
        moved = segment.input_bytes + segment.output_bytes
        rows.append((segment.reference_s, segment.macs, moved, segment.weight_bytes, 1.0))
    return np.asarray(np.array(rows, np.float64).reshape(-1, len(_UNITS)) * _UNITS, np.float64)


def adapt(measured: Sequence[SegmentFigures], prior: Prior = BROAD) -> Predictor:
    """The machine that explains some measured segments best and is not unusual.

    The most probable coefficients: relative errors of the measurements and distance of the coefficients' logarithms
    from what is usual, each in its own standard deviation.

    Args:
        measured: segments whose `time` was measured on the machine; ten are enough, one gives a scale.
    """
    terms = terms_of(measured)
    logarithms = np.log(np.maximum([segment.time.median_s for segment in measured], 1e-9))
    mean, deviation = np.array(prior.mean), np.array(prior.deviation)

    def distances(coefficients: Floats) -> Floats:
        errors = (np.log(terms @ np.exp(coefficients)) - logarithms) / _NOISE
        return np.concatenate([errors, (coefficients - mean) / deviation])

    solved = least_squares(distances, mean, loss="soft_l1", f_scale=2.0)
    return Predictor(tuple(float(value) for value in np.exp(solved.x)))


def learn(machines: Sequence[Sequence[SegmentFigures]]) -> Prior:
    """What is usual among machines that were measured well: mean and deviation of their fitted coefficients.

    With so few machines as people have, the deviations are widened by a half, and none is taken for less than a half.
    """
    if not machines:
        return BROAD
    fitted = np.log([adapt(measured).coefficients for measured in machines])
    deviation = np.maximum(1.5 * fitted.std(axis=0), 0.5)
    return Prior(tuple(map(float, fitted.mean(axis=0))), tuple(map(float, deviation)))


def representative(segments: Sequence[SegmentFigures], count: int = 10) -> list[int]:
    """Which segments to measure on a machine that has little time: spread over what they take on the reference."""
    order = np.argsort([segment.reference_s or 0.0 for segment in segments], kind="stable")
    places = np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int))
    return sorted(int(order[place]) for place in places)
