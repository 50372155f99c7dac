"""A bottleneck whose latent is rounded to k bits, without any prior in training: its width and k set the rate.

The last layer of the encoder is normalised, so the steps can be those that lose least of a Gaussian (J. Max,
"Quantizing for minimum distortion", IRE Trans. Inf. Theory, 1960). The entropy coder comes afterwards and finds what is
left to gain.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from partitioner.compressors.bottleneck import Factorised, Shape, straight_through


def reach_of(bits: int) -> float:
    """Standard deviations that so many bits should span to either side: Max's table from 2 to 8 bits, within 0.03."""
    return 1.35 + 0.325 * bits


class Quantised(Factorised):
    """Encoder and decoder around uniform quantisers of fixed steps, one for each level."""

    def __init__(self, shape: Shape, bits: tuple[int, ...]) -> None:
        """`bits`: of each level, smallest first; as many as `shape.levels`."""
        super().__init__(shape)
        self.priors = nn.ModuleList()
        self.limits = [float(2 ** (k - 1)) for k in bits]
        steps = torch.tensor([reach_of(k) / limit for k, limit in zip(bits, self.limits, strict=True)])
        gains = -steps.log()[:, None].repeat(1, shape.latent)
        self.log_gain = nn.Parameter(gains, requires_grad=False)
        self.log_inverse_gain = nn.Parameter(-gains, requires_grad=False)

    def through(self, activation: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """The latent in k bits, whose rounding gradients pass; and zeros, [batch]: nothing estimates the bits here."""
        limit = self.limits[level]
        scaled = self.latent(activation) * self.log_gain[level].exp()[:, None, None]
        inside = scaled.clamp(-limit, limit - 1)
        latent = straight_through(inside) * self.log_inverse_gain[level].exp()[:, None, None]
        return latent, latent.new_zeros(len(latent))

    def unrounded(self, activation: Tensor) -> Tensor:
        """The restored activation without any quantiser."""
        restored: Tensor = self.decoder(self.latent(activation))
        return restored

    @torch.no_grad()
    def symbols(self, activation: Tensor, level: int) -> Tensor:
        """As for `Bottleneck`, within the k bits."""
        limit = int(self.limits[level])
        return super().symbols(activation, level).clamp(-limit, limit - 1)
