"""The linear transform of calibrated codecs: a DCT in blocks, then one matrix over the channels for each frequency.

Both halves are convolutions, so any engine runs them; of a [channels, height, width] activation every value costs
`block^2 + channels` multiply-accumulates on the device, and the matrices hold `block^2 * channels^2` numbers.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from partitioner.errors import UnsupportedModel

WHOLE: Final = 8
"""Square planes of a side from 5 to this are transformed whole, and their many frequencies share one matrix."""
_RUN = 20


def as_planes(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """An item's shape as [channels, height, width]: vectors are single positions, tokens [tokens, channels] columns.

    Raises:
        UnsupportedModel: more than three axes.
    """
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    if len(shape) == 2:
        return shape[1], shape[0], 1
    if len(shape) == 1:
        return shape[0], 1, 1
    raise UnsupportedModel(
        f"a calibrated codec takes items of one to three axes, not {list(shape)}; cut where the tensor is "
        "[channels, height, width], or use the zstd level there"
    )


def block_of(height: int, width: int) -> int:
    """Side of the DCT's blocks: a small square plane whole, else the largest of 4, 2, 1 that leaves 7 along a side."""
    if height == width and 4 < height <= WHOLE:
        return height
    fits = (side for side in (4, 2) if height % side == 0 == width % side and min(height, width) >= 7 * side)
    return next(fits, 1)


def cosines(block: int) -> Tensor:
    """The orthonormal two-dimensional DCT-II as filters: float32 [block^2, 1, block, block]."""
    at = torch.arange(block, dtype=torch.float64)
    one = torch.cos(math.pi / block * (at[None, :] + 0.5) * at[:, None]) * math.sqrt(2 / block)
    one[0] /= math.sqrt(2)
    both = torch.einsum("ai,bj->abij", one, one)
    return both.reshape(block * block, 1, block, block).float()


class Frequencies(nn.Module):
    """Activation [batch, ...] to DCT coefficients [batch, block^2 * channels, h, w], one frequency after the other."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape
        self.planes = as_planes(shape)
        self.block = block_of(*self.planes[1:])
        self.register_buffer("filters", cosines(self.block))

    @property
    def shared(self) -> bool:
        """Whether all frequencies share one matrix: there are too many to fit one each."""
        return self.block > 4

    @property
    def spectra(self) -> tuple[int, int, int]:
        """Shape of one item's coefficients."""
        channels, height, width = self.planes
        return channels * self.block**2, height // self.block, width // self.block

    @property
    def latent(self) -> tuple[int, int, int]:
        """Shape of one item's latent, one table for each of its first axis.

        Of a plane transformed whole nothing is left but one value for each frequency and channel; there, runs of
        channels of like variance share a table.
        """
        values, height, width = self.spectra
        if height * width > 1 or not self.shared:
            return values, height, width
        channels = self.planes[0]
        run = next((run for run in range(_RUN, 7, -1) if channels % run == 0), channels)
        return values // run, run, 1

    def forward(self, activation: Tensor) -> Tensor:
        channels, height, width = self.planes
        if len(self.shape) == 2:
            activation = activation.transpose(1, 2)
        if self.block == 1:
            return activation.reshape(-1, channels, height, width)
        filters = self.get_buffer("filters")
        spectra = F.conv2d(activation.reshape(-1, 1, height, width), filters, stride=self.block)
        rows, columns = height // self.block, width // self.block
        spectra = spectra.reshape(-1, channels, self.block**2, rows, columns).transpose(1, 2)
        return spectra.reshape(-1, *self.spectra)

    def back(self, spectra: Tensor) -> Tensor:
        """The activation of coefficients."""
        channels, height, width = self.planes
        if self.block > 1:
            rows, columns = height // self.block, width // self.block
            spectra = spectra.reshape(-1, self.block**2, channels, rows, columns).transpose(1, 2)
            spectra = spectra.reshape(-1, self.block**2, rows, columns)
            spectra = F.conv_transpose2d(spectra, self.get_buffer("filters"), stride=self.block)
        if len(self.shape) == 2:
            return spectra.reshape(-1, channels, height).transpose(1, 2)
        return spectra.reshape(-1, *self.shape)


class Analysis(nn.Module):
    """Activation to latent: frequencies, less their means, times the matrix, times the frequency's weight.

    Args:
        matrices: [frequencies, channels, channels], or [1, channels, channels] where all frequencies share one.
        means: [frequencies, channels].
        scales: [frequencies].
    """

    def __init__(self, shape: tuple[int, ...], matrices: Tensor, means: Tensor, scales: Tensor | None = None) -> None:
        super().__init__()
        self.frequencies = Frequencies(shape)
        scales = torch.ones(len(means), dtype=means.dtype) if scales is None else scales
        groups, channels, _ = matrices.shape
        self.register_buffer("weight", matrices.reshape(groups * channels, channels, 1, 1).float())
        centre = torch.einsum("fdc,fc->fd", matrices.expand(len(means), -1, -1), means)
        self.register_buffer("scale", scales[:, None].expand_as(centre).reshape(-1, 1, 1).float())
        self.register_buffer("bias", (-centre * scales[:, None]).reshape(-1, 1, 1).float())

    def forward(self, activation: Tensor) -> Tensor:
        mixed = mix(self.frequencies(activation), self.get_buffer("weight"))
        latent = mixed * self.get_buffer("scale") + self.get_buffer("bias")
        return latent.reshape(-1, *self.frequencies.latent)


class Synthesis(nn.Module):
    """Latent to activation: the inverse of `Analysis`, up to rounding."""

    def __init__(self, shape: tuple[int, ...], inverses: Tensor, means: Tensor, scales: Tensor | None = None) -> None:
        super().__init__()
        self.frequencies = Frequencies(shape)
        scales = torch.ones(len(means), dtype=means.dtype) if scales is None else scales
        groups, channels, _ = inverses.shape
        self.register_buffer("weight", inverses.reshape(groups * channels, channels, 1, 1).float())
        self.register_buffer("scale", (1 / scales)[:, None].expand_as(means).reshape(-1, 1, 1).float())
        self.register_buffer("bias", means.reshape(-1, 1, 1).float())

    def forward(self, latent: Tensor) -> Tensor:
        spectra = latent.reshape(-1, *self.frequencies.spectra) * self.get_buffer("scale")
        return self.frequencies.back(mix(spectra, self.get_buffer("weight")) + self.get_buffer("bias"))


def mix(spectra: Tensor, weight: Tensor) -> Tensor:
    """Multiply the channels of each frequency by its matrix, or all by the one there is.

    Args:
        spectra: [batch, frequencies * channels, h, w].
        weight: [frequencies * channels, channels, 1, 1] or [channels, channels, 1, 1].
    """
    matrices = weight.shape[0] // weight.shape[1]
    if matrices > 1 or spectra.shape[1] == weight.shape[1]:
        return F.conv2d(spectra, weight, groups=matrices)
    return F.conv2d(spectra.reshape(-1, weight.shape[1], *spectra.shape[2:]), weight).reshape(-1, *spectra.shape[1:])
