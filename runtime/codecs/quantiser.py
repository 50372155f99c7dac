"""Latent to symbols and back: a step, a rounding offset and points of reconstruction for each channel.

For a Laplacian source the best scalar quantiser under an entropy code has equal steps, a wider zone around zero, and
points of reconstruction shifted towards zero (Sullivan, "Efficient scalar quantization of exponential and Laplacian
random variables", IEEE Trans. Inf. Theory, 1996). Both are optional: a trained encoder shapes its own zone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Quantiser:
    """One level's scalar quantisers.

    Attributes:
        gain: float32 [channels]; latent to symbols, at least 0.
        inverse_gain: float32 [channels]; symbols to latent, at least 0.
        rounding: float32 [channels], 0 to 0.5: what is added to a magnitude before rounding down. None: to nearest.
        shift: float32 [channels, 2], -1 to 1: what is added to the magnitude 1, and to larger ones, before scaling
            back. None: nothing.

    Raises:
        ValueError: on building, for anything else; the caller says in which file.
    """

    gain: Floats
    inverse_gain: Floats
    rounding: Floats | None = None
    shift: Floats | None = None

    def __post_init__(self) -> None:
        gains = np.stack([self.gain, self.inverse_gain])
        if not (np.isfinite(gains).all() and (gains >= 0).all()):
            raise ValueError("a gain is negative or not finite")
        if self.rounding is not None and not ((self.rounding >= 0) & (self.rounding <= 0.5)).all():
            raise ValueError("a rounding offset is not between 0 and 0.5")
        if self.shift is not None and not (self.shift.shape[-1] == 2 and (np.abs(self.shift) <= 1).all()):
            raise ValueError("the shifts are not two for each channel between -1 and 1")

    def quantise(self, latent: Floats) -> Floats:
        """Symbols as floats, not yet clipped to any table: float32, [channels, ...]."""
        with np.errstate(over="ignore"):  # the caller clips infinity like any other large value
            scaled = latent * per_channel(self.gain, latent)
        if self.rounding is None:
            nearest: Floats = np.rint(scaled)
            return nearest
        magnitude = np.floor(np.abs(scaled) + per_channel(self.rounding, scaled))
        symbols: Floats = np.copysign(magnitude, scaled)
        return symbols

    def restore(self, symbols: NDArray[np.int32]) -> Floats:
        """The latent that symbols stand for: float32, [channels, ...]."""
        magnitude = np.abs(symbols).astype(np.float32)
        if self.shift is not None:
            one, more = (per_channel(self.shift[:, i], symbols) for i in range(2))
            magnitude += np.where(magnitude == 1, one, more) * (magnitude > 0)
        latent: Floats = np.copysign(magnitude, symbols) * per_channel(self.inverse_gain, symbols)
        return latent.astype(np.float32, copy=False)


def per_channel(values: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    """Values [channels], shaped to broadcast over [channels, ...]."""
    return values.reshape(-1, *(1 for _ in like.shape[1:]))
