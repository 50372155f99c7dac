"""The built-in network: inverted residuals of the MobileNet kind (Sandler et al., "MobileNetV2", CVPR 2018).

It takes the picture as it is, uint8 [batch, 128, 128, 3], and normalises inside the graph, so that a bundle needs no
preprocessing beside it.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

WIDTHS = (24, 40, 64, 64, 112, 112, 112, 160)
"""Channels after the stem and after each block."""
STRIDES = (2, 2, 1, 2, 1, 1, 1)
EXPANSIONS = (2, 3, 3, 3, 3, 4, 4)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(),
    )


class InvertedResidual(nn.Module):
    """Widen, filter per channel, project; a shortcut where shapes allow it."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.widen = _convolution(inputs, hidden, 1)
        self.filter = _convolution(hidden, hidden, 3, stride, groups=hidden)
        self.project = nn.Sequential(nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.filter(self.widen(x)))
        return x + y if self.shortcut else y


class DigitsNet(nn.Module):
    """Classifies uint8 [batch, 128, 128, 3] into ten digits: logits float32 [batch, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _convolution(3, WIDTHS[0], 3, 2)
        self.blocks = nn.ModuleList(
            InvertedResidual(inputs, outputs, stride, expansion)
            for (inputs, outputs), stride, expansion in zip(pairwise(WIDTHS), STRIDES, EXPANSIONS, strict=True)
        )
        self.widen = _convolution(WIDTHS[-1], 192, 1)
        self.classify = nn.Linear(192, 10)

    def forward(self, pictures: Tensor) -> Tensor:
        x = pictures.permute(0, 3, 1, 2).to(torch.float32) / 127.5 - 1.0
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        x = self.widen(x)
        logits: Tensor = self.classify(x.mean((2, 3)))
        return logits
