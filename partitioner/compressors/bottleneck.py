"""A learned bottleneck with several rates: one encoder and decoder, one row of gains and one prior per level.

Rates by gain units after Cui et al., "Asymmetric Gained Deep Image Compression" (CVPR 2021); the factorised prior is
CompressAI's (`partitioner.compressors.prior`); the use of both at a cut follows the Entropic Student (Matsubara et al.,
WACV 2022).

    activation -> encoder -> latent -> x gain -> round -> / gain -> decoder -> activation'
                                                   |
                                                 prior -> bits
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from partitioner.compressors.prior import Prior


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a bottleneck for an activation of `channels` channels.

    `halvings` is how often the encoder halves height and width; `latent` the channels that are coded. With `plane`,
    the side of the latent after the halvings, each channel is one number for the whole plane instead of one for each
    position: far fewer symbols, where a payload of a few bytes is wanted. `depth` is how many cheap convolutions the
    encoder has behind the halvings: each sees two positions further, for a better choice of what to send.
    """

    channels: int
    halvings: int
    width: int
    latent: int
    levels: int
    plane: int = 0
    depth: int = 1


def _step(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """A depthwise convolution and a pointwise one: cheap enough for a weak device."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 5 if stride == 2 else 3, stride, 2 if stride == 2 else 1, groups=inputs, bias=False),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def make_encoder(shape: Shape) -> nn.Sequential:
    """Activation [batch, channels, h, w] to latent [batch, latent, h >> halvings, w >> halvings], or [.., 1, 1].

    The last layer is normalised: bottlenecks trained without normalisation are known to collapse to a constant.
    """
    layers: list[nn.Module] = []
    inputs = shape.channels
    for stride in (*(2 for _ in range(shape.halvings)), *(1 for _ in range(shape.depth))):
        layers.append(_step(inputs, shape.width, stride))
        inputs = shape.width
    layers += [
        nn.Conv2d(shape.width, shape.latent, shape.plane or 1, bias=False),
        nn.BatchNorm2d(shape.latent),
    ]
    return nn.Sequential(*layers)


class _Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.steps = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.steps(x)
        return y


def make_decoder(shape: Shape) -> nn.Sequential:
    """Latent back to an activation of the cut's own shape.

    Not normalised: levels differ in what they let through, and statistics of their mixture would fit none of them.
    """
    width = shape.width
    first = (
        nn.ConvTranspose2d(shape.latent, width, shape.plane)
        if shape.plane
        else nn.Conv2d(shape.latent, width, 3, padding=1)
    )
    layers: list[nn.Module] = [first, nn.ReLU(), _Residual(width)]
    for _ in range(shape.halvings):
        layers += [nn.Conv2d(width, 4 * width, 1), nn.PixelShuffle(2), nn.ReLU(), _Residual(width)]
    layers.append(nn.Conv2d(width, shape.channels, 1))
    return nn.Sequential(*layers)


def straight_through(scaled: Tensor) -> Tensor:
    """Rounded, with the gradients of what was not."""
    return scaled + (scaled.round() - scaled).detach()


class Bottleneck(nn.Module, ABC):
    """Encoder, decoder, gains and priors of one cut; how its symbols are distributed is the subclass's."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.encoder = make_encoder(shape)
        self.decoder = make_decoder(shape)
        start = torch.logspace(-0.3, 0.5, shape.levels)
        self.log_gain = nn.Parameter(start.log()[:, None].repeat(1, shape.latent))
        self.log_inverse_gain = nn.Parameter(-start.log()[:, None].repeat(1, shape.latent))
        self.priors = nn.ModuleList(Prior(shape.latent) for _ in range(shape.levels))
        self.view: nn.Module | None = None
        """A second tail, from the latent to a picture of the input; see `partitioner.compressors.views`."""

    def forward(self, activation: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """Restore an activation through one level.

        Args:
            activation: float32 [batch, channels, height, width].
            level: 0 (smallest) to `levels - 1`.

        Returns:
            The restored activation, and the estimated bits of each item, [batch].
        """
        latent, bits = self.through(activation, level)
        return self.decoder(latent), bits

    @abstractmethod
    def through(self, activation: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """What both ends see of an activation: the latent as decoding gives it, and the bits of each item, [batch]."""

    def latent(self, activation: Tensor) -> Tensor:
        """What the encoder gives, float32 [batch, latent, h, w]."""
        found: Tensor = self.encoder(activation).float()
        return found

    def variants(self) -> Sequence[Bottleneck]:
        """Itself; methods that learn several encoders for one decoder give one bottleneck for each."""
        return (self,)


class Factorised(Bottleneck):
    """Each channel has one distribution, whatever the other symbols are."""

    def through(self, activation: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """As for `Bottleneck`."""
        scaled = self.latent(activation) * self.log_gain[level].exp()[:, None, None]
        _, likelihood = self.priors[level](scaled, training=self.training)
        bits = -likelihood.log2().sum(dim=(1, 2, 3))
        return straight_through(scaled) * self.log_inverse_gain[level].exp()[:, None, None], bits

    @torch.no_grad()
    def symbols(self, activation: Tensor, level: int) -> Tensor:
        """What the run-time codec would code, before its clipping: int64 [batch, latent, h, w]."""
        scaled = self.latent(activation) * self.log_gain[level].exp()[:, None, None]
        return scaled.round().long()
