"""What an encoder costs a device beside the head's own layers, at cuts of networks for pictures of 224x224.

Encoders of the recipes' own sizes, untrained: multiply-accumulates do not depend on
weights, and in int8 each weight is a byte (normalisations are folded into convolutions, biases stay in four bytes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import nn

from benchmarks.figure import Figure
from isthmus.training.recipe import Bottleneck as Sizes
from partitioner.capture import capture
from partitioner.compressors.bottleneck import Shape
from partitioner.compressors.methods import METHODS

MOST_MMAC, MOST_KB = 60.0, 60.0


@dataclass(frozen=True, slots=True)
class Place:
    """A cut of a known network, and how often the encoder halves its plane."""

    name: str
    channels: int
    side: int
    halvings: int


PLACES: Final = (
    Place("ResNet-50 layer1", 256, 56, 1),
    Place("ResNet-50 layer2", 512, 28, 1),
    Place("ResNet-50 layer3", 1024, 14, 0),
    Place("MobileNetV2 features.3", 24, 56, 1),
    Place("MobileNetV2 features.6", 32, 28, 0),
    Place("EfficientNet-B0 features.3", 40, 28, 0),
)


def figures() -> Sequence[Figure]:
    """The dearest of all methods at each place, and of all."""
    sizes = Sizes()
    rows = []
    for place in PLACES:
        shape = Shape(place.channels, place.halvings, sizes.width, sizes.latent, len(sizes.bit_weights))
        costs = {name: _cost(name, shape, place.side) for name in METHODS}
        rows.append((place, max(macs for macs, _ in costs.values()), max(size for _, size in costs.values())))
    return [
        Figure("encoder, the dearest", max(mmac for _, mmac, _ in rows), "MMAC", MOST_MMAC),
        Figure("encoder in int8, the largest", max(kb for _, _, kb in rows), "kB", MOST_KB),
        *(Figure(f"{place.name}, {place.channels}x{place.side}x{place.side}", mmac, "MMAC") for place, mmac, _ in rows),
        *(Figure(f"{place.name}, in int8", kb, "kB") for place, _, kb in rows),
    ]


def _cost(method: str, shape: Shape, side: int) -> tuple[float, float]:
    """Million multiply-accumulates of an item, and thousands of bytes in int8; with a hyperprior's own, if any."""
    made = METHODS[method].make(shape).eval()
    activation = torch.zeros(2, shape.channels, side, side)
    modules: list[tuple[nn.Module, torch.Tensor]] = [(made.encoder, activation)]
    hyper = getattr(made, "hyper_encoder", None)
    macs, size = 0, 0
    with torch.inference_mode():
        latent = made.encoder(activation)
    if hyper is not None:
        modules.append((hyper, latent.clone()))
        layers = (made.hyper_hidden, made.hyper_last)
        macs += sum(layer.weight.numel() for layer in layers) * latent.shape[2] * latent.shape[3]
        size += sum(2 * layer.weight.numel() + 4 * len(layer.weight) for layer in layers)
    for module, example in modules:
        macs += capture(module, example).macs
        size += sum(p.numel() if p.ndim == 4 else 2 * p.numel() for p in module.parameters())  # two become one bias
    return macs / 1e6, size / 1e3
