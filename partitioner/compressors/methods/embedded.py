"""Like `gained`, but what matters most comes in the first channels, and no channel is indispensable.

Nested dropout (O. Rippel, M. Gelbart and R. Adams, "Learning ordered representations with nested dropout", ICML 2014)
on half of the batches, and dropout of single channels on a quarter: a payload that was cut short still decodes
(`protocol.prefix`), and so does a tensor whose packets did not all arrive (`protocol.packets`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from partitioner.compressors.bottleneck import Bottleneck, Shape, straight_through
from partitioner.compressors.methods.gained import together
from partitioner.compressors.methods.method import Phase

_PREFIXES, _LOSSES = 0.5, 0.25
"""Shares of the steps that see only the first channels, and that lose channels here and there."""
_LOST = 0.2


class _Ordered(Bottleneck):
    """A bottleneck that keeps only some of the channels while it learns."""

    def through(self, activation: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """As for `Bottleneck`; in training both tails see some of the channels, and their bits count."""
        latent = self.latent(activation)
        scaled = latent * self.log_gain[level].exp()[:, None, None]
        _, likelihood = self.priors[level](scaled, training=self.training)
        kept = self._kept(len(latent)).to(latent.device)  # [batch, latent, 1, 1]
        bits = -(likelihood.log2() * kept).sum(dim=(1, 2, 3))
        return straight_through(scaled) * kept * self.log_inverse_gain[level].exp()[:, None, None], bits

    def _kept(self, items: int) -> Tensor:
        channels = self.shape.latent
        drawn = torch.rand(()).item()
        if not self.training or drawn >= _PREFIXES + _LOSSES:
            kept = torch.ones(items, channels)
        elif drawn < _PREFIXES:
            kept = (torch.arange(channels) < torch.randint(1, channels + 1, (items, 1))).float()
        else:
            kept = (torch.rand(items, channels) >= _LOST).float()
        return kept[:, :, None, None]


class Embedded:
    """See above."""

    name = "embedded"

    def make(self, shape: Shape) -> Bottleneck:
        return _Ordered(shape)

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("together", 1.0, together),)
