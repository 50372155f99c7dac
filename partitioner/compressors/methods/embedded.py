"""Like `gained`, but what matters most comes in the first channels, and no channel is indispensable.

Nested dropout (O. Rippel, M. Gelbart and R. Adams, "Learning ordered representations with nested dropout", ICML 2014),
with cuts drawn evenly over the bits of an item rather than over its channels, for it is bytes that a cut payload keeps
(`protocol.prefix`). Other items lose what was in lost packets (`protocol.packets`), and the rest lose nothing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from partitioner.compressors.bottleneck import Bottleneck, Factorised, Shape, straight_through
from partitioner.compressors.methods.gained import together
from partitioner.compressors.methods.method import Phase

_CUT, _LOSSY = 0.45, 0.35
"""Shares of the items that are cut short, and that lose packets."""
_FINER = 4.0
"""Steps start so many times finer than in `gained`: what is cut must hold more than what is left of it."""
_FEWEST, _MOST, _LOST = 4, 8, 0.2
"""Packets of an item, and the share of them that is lost."""


class _Ordered(Factorised):
    """A bottleneck that keeps only some of the symbols while it learns."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        with torch.no_grad():
            self.log_gain.add_(math.log(_FINER))
            self.log_inverse_gain.sub_(math.log(_FINER))

    def through(self, activation: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """As for `Bottleneck`; in training both tails see some of the symbols, and the bits of those count."""
        scaled = self.latent(activation) * self.log_gain[level].exp()[:, None, None]
        _, likelihood = self.priors[level](scaled, training=self.training)
        bits = -likelihood.log2()
        kept = kept_of(bits.detach()) if self.training else torch.ones_like(bits)
        latent = straight_through(scaled) * kept * self.log_inverse_gain[level].exp()[:, None, None]
        return latent, (bits * kept).sum((1, 2, 3))


def kept_of(bits: Tensor) -> Tensor:
    """Which symbols of each item one step sees: 1 or 0, of the shape of `bits`, [batch, channels, height, width]."""
    draw = torch.rand(len(bits), 1, 1, 1, device=bits.device)
    return torch.where(draw < _CUT, _front(bits), torch.where(draw < _CUT + _LOSSY, _arrived(bits), 1.0))


def _front(bits: Tensor) -> Tensor:
    """The symbols before a cut that is drawn evenly over the bits of each item; never none."""
    ends = bits.flatten(1).cumsum(1)  # in the order in which symbols are coded
    kept = ends <= torch.rand(len(bits), 1, device=bits.device) * ends[:, -1:]
    kept[:, 0] = True
    return kept.to(bits.dtype).reshape(bits.shape)


def _arrived(bits: Tensor) -> Tensor:
    """The symbols of those packets that arrive: as in `protocol.packets`, every n-th position, or channel."""
    items, channels, height, width = bits.shape
    positions = height * width
    packets = torch.randint(_FEWEST, _MOST + 1, (items, 1), device=bits.device)
    arrives = torch.rand(items, _MOST, device=bits.device) >= _LOST
    across = positions if positions >= _MOST else channels
    found = arrives.gather(1, torch.arange(across, device=bits.device) % packets).to(bits.dtype)
    shape = (items, 1, height, width) if positions >= _MOST else (items, channels, 1, 1)
    return found.reshape(shape).expand_as(bits)


class Embedded:
    """See above."""

    name = "embedded"

    def make(self, shape: Shape) -> Bottleneck:
        return _Ordered(shape)

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("together", 1.0, together),)
