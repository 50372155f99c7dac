"""A second tail behind one stream: from the latent to a picture of the input, for people to look at.

Several tasks from one bottleneck: the answer's tail is the frozen network, the picture's is learnt beside the decoder,
and the bits are shared. What the picture needs and the answer does not is paid for by `weight`; at a weight of zero
nothing is learnt for it but the painter itself, and it shows what the answer's bits happen to hold.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from partitioner.compressors.bottleneck import Bottleneck, Shape
from partitioner.compressors.errors import InvalidRecipe
from partitioner.compressors.methods.method import Lesson, Loss, Method, Moment, Phase

_BREADTH = 32


class Painter(nn.Module):
    """Latent [batch, channels, h, w] to pictures float32 of the model's input.

    Args:
        latent: channels of the latent.
        picture: shape of one input: [height, width, colours] if `last`, else [colours, height, width].
        middle, spread: mean and standard deviation of the inputs; what is painted starts there.
    """

    def __init__(self, latent: int, picture: tuple[int, ...], *, last: bool, middle: float, spread: float) -> None:
        super().__init__()
        colours, self._size = (picture[2], picture[:2]) if last else (picture[0], picture[1:])
        self._last, self._middle, self._spread = last, middle, spread
        self.first = nn.Sequential(nn.Conv2d(latent, 2 * _BREADTH, 3, padding=1), nn.ReLU())
        self.widen = nn.Sequential(nn.Conv2d(2 * _BREADTH, _BREADTH, 5, padding=2), nn.ReLU())
        self.refine = nn.Sequential(nn.Conv2d(_BREADTH, _BREADTH, 3, padding=1), nn.ReLU())
        self.places = nn.Parameter(0.1 * torch.randn(1, _BREADTH, *self._size))
        self.paint = nn.Conv2d(_BREADTH, colours, 3, padding=1)

    def forward(self, latent: Tensor) -> Tensor:
        height, width = self._size
        x: Tensor = F.interpolate(self.first(latent), (height // 2, width // 2), mode="bilinear", align_corners=False)
        x = F.interpolate(self.widen(x), (height, width), mode="bilinear", align_corners=False)
        x = self.refine(x * (1.0 + self.places))
        x = self.paint(x) * self._spread + self._middle
        return x.permute(0, 2, 3, 1) if self._last else x


@dataclass(frozen=True)
class Viewed:
    """A method whose bottleneck also learns to show the input.

    Attributes:
        method: what is learnt besides.
        picture: shape of one input; `last`: whether its colours come last.
        weight: of the picture's squared error in units of the inputs' variance, beside one nat.
        middle, spread: of the inputs.
    """

    method: Method
    picture: tuple[int, ...]
    last: bool
    weight: float
    middle: float
    spread: float

    @property
    def name(self) -> str:
        return f"{self.method.name} with a view of {self.weight:g}"

    def make(self, shape: Shape) -> Bottleneck:
        made = self.method.make(shape)
        made.view = Painter(shape.latent, self.picture, last=self.last, middle=self.middle, spread=self.spread)
        return made

    def phases(self) -> tuple[Phase, ...]:
        return tuple(replace(phase, loss=partial(self._loss, phase.loss)) for phase in self.method.phases())

    def _loss(self, own: Loss, compressor: Bottleneck, lesson: Lesson, moment: Moment) -> tuple[Tensor, str]:
        assert compressor.view is not None
        loss, told = own(compressor, lesson, moment)
        latent, _ = compressor.through(lesson.activation, moment.level)
        seen = latent if self.weight > 0 else latent.detach()
        error = ((compressor.view(seen).float() - lesson.inputs.float()) / self.spread).square().mean()
        return loss + (self.weight or 1.0) * error, f"{told}, {float(error.detach()):.2f} of the picture"


def viewed(method: Method, inputs: Tensor, weight: float) -> Viewed:
    """A method with a view of the model's input.

    Args:
        inputs: a few hundred, [items, ...]: uint8 [height, width, colours] or float32 [colours, height, width].

    Raises:
        InvalidRecipe: inputs that are no pictures.
    """
    last = inputs.dtype == torch.uint8
    shape = tuple(inputs.shape[1:])
    if (
        len(shape) != 3
        or (shape[2] if last else shape[0]) not in (1, 3)
        or inputs.dtype not in (torch.uint8, torch.float32)
    ):
        raise InvalidRecipe(
            f"a view shows uint8 [height, width, colours] or float32 [colours, height, width] of 1 or 3 colours, and "
            f"the model takes {inputs.dtype} {list(shape)}; remove the [view] table"
        )
    floats = inputs.float()
    return Viewed(method, shape, last, weight, float(floats.mean()), max(float(floats.std()), 1e-6))
