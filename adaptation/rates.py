"""The grid of uplink rates a belief is spread over, and how that belief blurs while nothing is measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adaptation.arrays import FloatArray, read_only
from adaptation.errors import InvalidValue

DEAD_BPS = 1.0
"""The dead link as a rate: finite, so that no arithmetic meets an infinity, and a hundred bytes take 13 minutes."""


@dataclass(frozen=True, slots=True)
class RateSettings:
    """How rates are gridded and how they are believed to move.

    Attributes:
        low_bps, high_bps, bins: the live rates, evenly spaced in the logarithm.
        usual_bps, usual_spread: centre and width (in natural logarithms) of what links usually carry.
        walk: standard deviation of the logarithm's random walk after one second.
        jumps_per_s: how often a rate is drawn anew from the usual ones.
        outages_per_s, returns_per_s: how often a live link dies, and a dead one returns.
    """

    low_bps: float = 2e3
    high_bps: float = 1e8
    bins: int = 48
    usual_bps: float = 2e6
    usual_spread: float = 2.0
    walk: float = 1.25
    jumps_per_s: float = 0.1
    outages_per_s: float = 0.02
    returns_per_s: float = 0.4

    def __post_init__(self) -> None:
        if not (0.0 < DEAD_BPS < self.low_bps < self.high_bps and self.bins >= 2):
            raise InvalidValue(
                f"rates from {self.low_bps:g} to {self.high_bps:g} bit/s in {self.bins} bins are no grid; "
                f"give {DEAD_BPS:g} < low_bps < high_bps and at least 2 bins"
            )
        if min(self.walk, self.jumps_per_s, self.outages_per_s, self.returns_per_s, self.usual_spread) <= 0.0:
            raise InvalidValue("walk, usual_spread and the three rates of change have to be above 0")


class RateChain:
    """A reversible Markov chain over the dead link and the live rates, advanced exactly by any span of time.

    Reversible, so its generator has real eigenvectors: a step of any length is two small matrix products, and two
    steps equal one of their sum.
    """

    def __init__(self, settings: RateSettings) -> None:
        live = np.geomspace(settings.low_bps, settings.high_bps, settings.bins)
        logs = np.log(live)
        usual = np.exp(-0.5 * ((logs - np.log(settings.usual_bps)) / settings.usual_spread) ** 2)
        usual = 0.7 * usual / usual.sum() + 0.3 / settings.bins
        dead_share = settings.outages_per_s / (settings.outages_per_s + settings.returns_per_s)
        stationary = np.concatenate(([dead_share], (1.0 - dead_share) * usual))

        generator = np.zeros((settings.bins + 1, settings.bins + 1))
        generator[1:, 1:] = settings.jumps_per_s * usual[None, :]
        generator[1:, 0] = settings.outages_per_s
        generator[0, 1:] = settings.returns_per_s * usual
        spread = 0.5 * (settings.walk / (logs[1] - logs[0])) ** 2
        for low in range(1, settings.bins):
            tilt = np.sqrt(stationary[low + 1] / stationary[low])
            generator[low, low + 1] += spread * tilt
            generator[low + 1, low] += spread / tilt
        np.fill_diagonal(generator, 0.0)
        np.fill_diagonal(generator, -generator.sum(axis=1))

        root = np.sqrt(stationary)
        symmetric = root[:, None] * generator / root[None, :]
        values, vectors = np.linalg.eigh(0.5 * (symmetric + symmetric.T))
        self.rates_bps = read_only(np.concatenate(([DEAD_BPS], live)))
        self.stationary = read_only(stationary)
        self._decay = np.minimum(values, 0.0)
        self._enter = np.ascontiguousarray(vectors.T / root[None, :])
        self._leave = np.ascontiguousarray(root[:, None] * vectors)

    def stride(self, elapsed_s: float) -> FloatArray:
        """[rates, rates]: the matrix that advances a belief by a span, for spans that come again and again."""
        matrix: FloatArray = (self._leave * np.exp(self._decay * elapsed_s)) @ self._enter
        return matrix

    def advance(self, weights: FloatArray, elapsed_s: float) -> FloatArray:
        """The belief `elapsed_s` seconds later if nothing is seen meanwhile, with sum 1 and never quite 0."""
        later: FloatArray = self._leave @ (np.exp(self._decay * max(elapsed_s, 0.0)) * (self._enter @ weights))
        np.maximum(later, 1e-15, out=later)
        later /= np.add.reduce(later)
        return later
