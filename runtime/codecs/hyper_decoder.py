"""From the symbols of a hyperprior to where each symbol of the latent lies and how widely, in integers alone.

Two convolutions, specified in docs/bitstream.md. Tables that are chosen by floating-point numbers may differ between
two machines, and then nothing behind the first difference decodes (J. Ballé, N. Johnston and D. Minnen, "Integer
networks for data compression with latent-variable models", ICLR 2019); integers do not differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

FRACTION_BITS: Final = 6
"""Means are in 64ths of a symbol."""
LIMIT: Final = (1 << 15) - 1
"""Largest magnitude of symbols of the hyperprior, of what lies between the layers, and of means."""
_EXACT: Final = 1 << 52
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A convolution over a plane with zeros around it, then a division by a power of two.

    Attributes:
        weight: int16 [outputs, inputs, k, k], k odd.
        bias: int32 [outputs].
        shift: int32 [outputs], 1 to 31: out = (sum + bias + 2^(shift - 1)) / 2^shift, rounded down.

    Raises:
        ValueError: on building, for anything else; the caller says in which file.
    """

    weight: NDArray[np.int16]
    bias: NDArray[np.int32]
    shift: NDArray[np.int32]

    def __post_init__(self) -> None:
        weight, outputs = self.weight, len(self.weight)
        if weight.dtype != "i2" or weight.ndim != 4 or weight.shape[2] != weight.shape[3] or weight.shape[2] % 2 == 0:
            raise ValueError(f"weights are int16 [outputs, inputs, k, k] with an odd k, not {weight.shape}")
        if any(found.dtype != "i4" or found.shape != (outputs,) for found in (self.bias, self.shift)):
            raise ValueError("bias and shift are int32, one for each output")
        if outputs == 0 or not ((self.shift >= 1) & (self.shift <= 31)).all():
            raise ValueError("shifts are 1 to 31")
        if weight[0].size * (LIMIT + 1) ** 2 + (1 << 32) > _EXACT:
            raise ValueError("so many inputs could leave 52 bits")

    def run(self, plane: Integers) -> Integers:
        """[..., inputs, height, width] of magnitudes up to `LIMIT` to [..., outputs, height, width].

        Products and sums stay below 2^52, where float64 holds every integer: exact in any order of summation.
        """
        outputs, inputs, side, _ = self.weight.shape
        *items, _, height, width = plane.shape
        around = side // 2
        nothing = [(0, 0)] * (plane.ndim - 2)
        padded = np.pad(plane, [*nothing, (around, around), (around, around)]).astype(np.float64)
        sums = np.zeros((*items, outputs, height * width))
        for down, right in np.ndindex(side, side):
            seen = padded[..., down : down + height, right : right + width].reshape(*items, inputs, -1)
            sums += self.weight[:, :, down, right].astype(np.float64) @ seen
        shift = self.shift.astype(np.int64)
        half = np.left_shift(1, shift - 1)
        shifted: Integers = (sums.astype(np.int64) + (self.bias + half)[:, None]) >> shift[:, None]
        return shifted.reshape(*items, outputs, height, width)


@dataclass(frozen=True, slots=True, eq=False)
class HyperDecoder:
    """Both layers of one level.

    Attributes:
        hidden: from the symbols; its negative outputs become 0.
        last: to a mean and a scale for each channel of the latent: first all means, then all scales.
        repeat: rows and columns of the latent for each of the hyperprior; see `runtime.manifest.repeat_of`.
        scales: how many tables there are to choose from.

    Raises:
        ValueError: on building, if the layers do not fit each other.
    """

    hidden: Layer
    last: Layer
    repeat: int
    scales: int

    def __post_init__(self) -> None:
        if self.last.weight.shape[1] != len(self.hidden.weight) or len(self.last.weight) % 2:
            raise ValueError("the layers of the hyperprior do not fit each other")

    def run(self, symbols: NDArray[Any], height: int, width: int) -> tuple[Integers, Integers]:
        """What a hyperprior says about a latent of this height and width.

        Args:
            symbols: integers [..., channels, rows, columns], magnitudes up to `LIMIT`.

        Returns:
            Means in 64ths of a symbol, and numbers of scales from 0 to `scales - 1`: [..., channels, height, width].
        """
        hidden = np.clip(self.hidden.run(symbols.astype(np.int64)), 0, LIMIT)
        wide = hidden.repeat(self.repeat, axis=-2).repeat(self.repeat, axis=-1)[..., :height, :width]
        means, scales = np.split(self.last.run(wide), 2, axis=-3)
        return np.clip(means, -LIMIT, LIMIT), np.clip(scales, 0, self.scales - 1)
