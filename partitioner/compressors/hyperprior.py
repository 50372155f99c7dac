"""A bottleneck with a hyperprior: each symbol's mean and scale come from a few numbers sent in front of it.

After D. Minnen, J. Ballé and G. Toderici, "Joint autoregressive and hierarchical priors for learned image compression"
(NeurIPS 2018), without the autoregressive part, with gains for many rates. Training is in floating point; the bundle's
way from the hyperprior to tables is in integers (`partitioner.compressors.integers`).

    latent ----------------------- x gain -> - mean -> round -> + mean -> / gain -> decoder
       |                                        |        |
    hyper encoder -> x gain -> round -> hyper decoder -> scale -> bits
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from partitioner.compressors.bottleneck import Bottleneck, Shape, straight_through
from partitioner.compressors.prior import GaussianConditional, Prior

REPEAT = 2
"""Rows and columns of the latent for each of the hyperprior."""
_WIDEST_LOG = 6.0


class HyperBottleneck(Bottleneck):
    """A bottleneck with a hyper encoder and a hyper decoder, shared by all levels.

    Its symbols come from the integer form only: see `partitioner.compressors.integers.Counted`.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        channels, width = max(shape.latent // 2, 2), 2 * max(shape.latent, 8)
        self.hyper_encoder = nn.Sequential(
            nn.Conv2d(shape.latent, width, 3, REPEAT, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.hyper_hidden = nn.Conv2d(channels, width, 3, padding=1)
        self.hyper_last = nn.Conv2d(width, 2 * shape.latent, 3, padding=1)
        self.log_hyper_gain = nn.Parameter(self.log_gain.detach()[:, :1].repeat(1, channels))
        self.priors = nn.ModuleList(Prior(channels) for _ in range(shape.levels))
        self.conditional = GaussianConditional(None)

    def through(self, activation: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """As for `Bottleneck`; bits are those of the latent and of the hyperprior."""
        latent = self.encoder(activation).float()
        hyper_gain = self.log_hyper_gain[level].exp()[:, None, None]
        hyper = self.hyper_encoder(latent).float() * hyper_gain
        _, hyper_likelihood = self.priors[level](hyper, training=self.training)
        mean, log_scale = self.parameters_of(straight_through(hyper) / hyper_gain, latent.shape[2:])
        gain = self.log_gain[level].exp()[:, None, None]
        mean, scale = mean * gain, log_scale.exp() * gain
        scaled = latent * gain
        _, likelihood = self.conditional(scaled, scale, mean, training=self.training)
        bits = -likelihood.log2().sum(dim=(1, 2, 3)) - hyper_likelihood.log2().sum(dim=(1, 2, 3))
        rounded = straight_through(scaled - mean) + mean
        return rounded * self.log_inverse_gain[level].exp()[:, None, None], bits

    def parameters_of(self, hyper: Tensor, plane: torch.Size) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the scale of the unscaled latent, [batch, latent, *plane] each.

        Args:
            hyper: rounded and scaled back, [batch, channels, rows, columns].
            plane: height and width of the latent.
        """
        hidden = torch.relu(self.hyper_hidden(hyper)).repeat_interleave(REPEAT, 2).repeat_interleave(REPEAT, 3)
        mean, log_scale = self.hyper_last(hidden[:, :, : plane[0], : plane[1]]).float().chunk(2, 1)
        return mean, log_scale.clamp(-_WIDEST_LOG, _WIDEST_LOG)
