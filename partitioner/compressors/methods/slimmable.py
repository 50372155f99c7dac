"""Like `gained`, with an encoder that also works at half its width: the device chooses per frame what it can afford.

Both widths share their convolutions, the narrow one taking the first half of the channels, and each has normalisations
of its own (J. Yu, L. Yang, N. Xu, J. Yang and T. Huang, "Slimmable neural networks", ICLR 2019; at a cut: J. S.
Assine, J. C. S. Santos Filho, E. Valle and M. Levorato, "Slimmable encoders for flexible split DNNs in bandwidth and
resource constrained IoT systems", WoWMoM 2023). Decoder and gains are the same for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.func import functional_call

from partitioner.compressors.bottleneck import Bottleneck, Factorised, Shape, make_encoder
from partitioner.compressors.methods.gained import together
from partitioner.compressors.methods.method import Phase


class Slim(Factorised):
    """A bottleneck that draws one of two widths at each step of training, and is as wide as it can be afterwards."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.narrow = make_encoder(replace(shape, width=max(shape.width // 2, 1)))
        for weight in _convolutions(self.narrow).values():
            weight.requires_grad_(False)  # a place for those of the wide one

    def latent(self, activation: Tensor) -> Tensor:
        """As for `Bottleneck`."""
        if not self.training or torch.rand(()).item() < 0.5:
            return super().latent(activation)
        found: Tensor = functional_call(self.narrow, self._shared(), (activation,)).float()
        return found

    def variants(self) -> Sequence[Factorised]:
        """The narrow one, then the wide one; they share decoder and gains."""
        narrow, wide = (Factorised(self.shape) for _ in range(2))
        self.narrow.load_state_dict(self._shared(), strict=False)
        for one, encoder in ((narrow, self.narrow), (wide, self.encoder)):
            one.encoder, one.decoder, one.priors = encoder, self.decoder, self.priors
            one.log_gain, one.log_inverse_gain, one.view = self.log_gain, self.log_inverse_gain, self.view
            one.eval()
        return narrow, wide

    def _shared(self) -> dict[str, Tensor]:
        """The narrow encoder's convolutions, as parts of the wide one's."""
        wide = _convolutions(self.encoder)
        return {name: wide[name][: len(mine), : mine.shape[1]] for name, mine in _convolutions(self.narrow).items()}


def _convolutions(encoder: nn.Module) -> dict[str, nn.Parameter]:
    return {name: weight for name, weight in encoder.named_parameters() if weight.ndim == 4}


class Slimmable:
    """See above."""

    name = "slimmable"

    def make(self, shape: Shape) -> Bottleneck:
        return Slim(shape)

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("together", 1.0, together),)
