"""Curves of bytes against answers, their Bjontegaard differences, and how sure those are.

The Bjontegaard rate difference is the mean of log(bytes) between two curves over the qualities that both reach, as a
share (VCEG-M33, 2001); curves are joined by monotone piecewise cubics (Fritsch and Carlson, SIAM J. Numer. Anal. 1980)
as in the common test conditions of JVET, because polynomials swing between points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator

from isthmus.evaluation.errors import NoOverlap

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Curve:
    """One method at its levels, item by item.

    Attributes:
        name: of the method.
        levels: names of the levels.
        sizes: bytes, [levels, items].
        right: whether the answer was right (or that of the whole model), [levels, items].
    """

    name: str
    levels: tuple[str, ...]
    sizes: Floats
    right: NDArray[np.bool_]

    @property
    def bytes(self) -> Floats:
        """Mean bytes of each level."""
        mean: Floats = self.sizes.mean(1)
        return mean

    @property
    def quality(self) -> Floats:
        """Share of right answers of each level."""
        mean: Floats = self.right.mean(1)
        return mean


def rate_difference(bytes_a: ArrayLike, quality_a: ArrayLike, bytes_b: ArrayLike, quality_b: ArrayLike) -> float:
    """How many bytes b needs beyond a at equal quality: -0.5 is half, 1.0 twice as many.

    Levels that another one of the same curve beats in both figures are left out.

    Raises:
        NoOverlap: fewer than two levels of a curve are left, or no quality is reached by both.
    """
    first, second = _inverse(bytes_a, quality_a), _inverse(bytes_b, quality_b)
    low = max(float(first.x[0]), float(second.x[0]))
    high = min(float(first.x[-1]), float(second.x[-1]))
    if high <= low:
        raise NoOverlap(
            f"one curve ends at {min(first.x[-1], second.x[-1]):.4g} where the other begins at {low:.4g}, so they "
            "have no quality in common; measure more levels"
        )
    difference = (second.integrate(low, high) - first.integrate(low, high)) / (high - low)
    return float(np.expm1(difference))


def bytes_at(sizes: ArrayLike, quality: ArrayLike, target: float) -> float:
    """Bytes at which a curve reaches a quality, infinity where it never does.

    Measured qualities of neighbouring levels swing by chance; the curve through them is the nearest one that never
    falls (pool adjacent violators: Ayer et al., Ann. Math. Stat. 1955), joined straight over log(bytes).
    """
    order = np.argsort(np.asarray(sizes))
    logs, rising = np.log(np.asarray(sizes, np.float64)[order]), _pooled(np.asarray(quality, np.float64)[order])
    reached = np.flatnonzero(rising >= target)
    if len(reached) == 0:
        return float("inf")
    at = int(reached[0])
    if at == 0:
        return float(np.exp(logs[0]))
    part = (target - rising[at - 1]) / (rising[at] - rising[at - 1])
    return float(np.exp(logs[at - 1] + part * (logs[at] - logs[at - 1])))


def _pooled(values: Floats) -> Floats:
    """The nearest sequence, in squares, that never falls."""
    blocks: list[tuple[float, int]] = []
    for value in values:
        mean, count = float(value), 1
        while blocks and blocks[-1][0] >= mean:
            before, weight = blocks.pop()
            mean, count = (before * weight + mean * count) / (weight + count), weight + count
        blocks.append((mean, count))
    return np.concatenate([np.full(count, mean) for mean, count in blocks])


def _inverse(sizes: ArrayLike, quality: ArrayLike) -> Any:
    """log(bytes) as a function of quality, over the levels that no other one beats."""
    sizes, quality = np.asarray(sizes, np.float64), np.asarray(quality, np.float64)
    order = np.lexsort((-quality, sizes))
    kept = [index for place, index in enumerate(order) if place == 0 or quality[index] > quality[order[:place]].max()]
    if len(kept) < 2:
        raise NoOverlap("a curve has fewer than two levels that differ in quality; measure more levels")
    return PchipInterpolator(quality[kept], np.log(sizes[kept]))


def interval(a: Curve, b: Curve, *, draws: int = 1000, seed: int = 0, share: float = 0.95) -> tuple[float, float]:
    """Bootstrap interval of the rate difference of b against a: items are drawn with replacement, the same for both.

    Draws in which the curves do not overlap are left out.

    Raises:
        NoOverlap: more than half of the draws do not overlap.
    """
    generator = np.random.default_rng(seed)
    items = a.sizes.shape[1]
    found = []
    for _ in range(draws):
        drawn = np.bincount(generator.integers(0, items, items), minlength=items) / items
        try:
            found.append(rate_difference(a.sizes @ drawn, a.right @ drawn, b.sizes @ drawn, b.right @ drawn))
        except NoOverlap:
            continue
    if len(found) < draws / 2:
        raise NoOverlap(f"{a.name} and {b.name} overlap in fewer than half of the draws; measure more levels or items")
    low, high = np.quantile(found, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)
