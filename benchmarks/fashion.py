"""Fashion-MNIST of ISTHMUS_DATA, and the network that the figures of learned compressors are measured on."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from isthmus.training.samples import varied
from partitioner.compressors.resumable import Report, Schedule, fit
from partitioner.compressors.trainer import batch_at

DATA = Path(os.environ.get("ISTHMUS_DATA", "../shared/data")) / "fashion_mnist"
WORK = Path(os.environ.get("ISTHMUS_RESULTS", "results")) / "fashion"
SCALE = float(os.environ.get("ISTHMUS_SCALE", "1"))
"""Share of steps and pictures; below 1 only exercises the path, in another ISTHMUS_RESULTS."""
EPOCHS, BATCH = 9, 128
Split = Literal["train", "test"]
Pictures = NDArray[np.uint8]


def at_hand() -> bool:
    """Whether the data are there."""
    return (DATA / "train-images-idx3-ubyte.gz").is_file()


def read(split: Split) -> tuple[Pictures, NDArray[np.int64]]:
    """Pictures, uint8 [items, 28, 28, 1], and classes, int64 [items]."""
    stem = {"train": "train", "test": "t10k"}[split]
    with gzip.open(DATA / f"{stem}-images-idx3-ubyte.gz") as file:
        pictures = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28, 1).copy()
    with gzip.open(DATA / f"{stem}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int64)
    count = max(round(len(labels) * SCALE), 2 * BATCH)
    return pictures[:count], labels[:count]


def steps_of(steps: int) -> int:
    """Steps of a training at this scale."""
    return max(round(steps * SCALE), 10)


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _convolution(width, width, 1)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.second(self.first(x)))


class FashionNet(nn.Module):
    """Classifies uint8 [batch, 28, 28, 1]: logits float32 [batch, 10]; 12.7 MMAC.

    Behind `blocks.1` lie 8 % of the multiply-accumulates (32x14x14), behind `blocks.3` 44 % (64x7x7).
    """

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            [
                _convolution(1, 16, 1), _convolution(16, 32, 2), _Residual(32),
                _convolution(32, 64, 2), _Residual(64), _Residual(64),
            ]
        )  # fmt: skip
        self.classify = nn.Linear(64, 10)

    def forward(self, pictures: Tensor) -> Tensor:
        x = (pictures.permute(0, 3, 1, 2).to(torch.float32) - 72.9) / 90.0
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.classify(x.mean((2, 3)))
        return logits


def train_network(file: Path, seed: int, report: Report) -> FashionNet:
    """The network from scratch, resumable; in evaluation mode."""
    pictures, labels = (torch.from_numpy(array) for array in read("train"))
    torch.manual_seed(seed)
    network = FashionNet().train()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss_at(step: int) -> tuple[Tensor, str]:
        chosen = torch.from_numpy(batch_at(step, len(labels), BATCH, seed))
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(varied(pictures[chosen], mirror=True, shift=2))
        loss = F.cross_entropy(logits.float(), labels[chosen], label_smoothing=0.05)
        return loss, f"network: loss {float(loss.detach()):.3f}"

    steps = EPOCHS * max(len(labels) // BATCH, 2)
    fit(network, loss_at, Schedule(steps, 4e-3, seed, weight_decay=0.02, rise=0.15), file=file, report=report)
    return network.eval()


def accuracy(network: nn.Module, pictures: Pictures, labels: NDArray[np.int64]) -> float:
    """Share of right answers."""
    return float((answers(network, pictures) == labels).mean())


@torch.inference_mode()
def answers(network: nn.Module, pictures: Pictures) -> NDArray[np.int64]:
    """Classes, int64 [items]."""
    found = [network(torch.from_numpy(pictures[i : i + 500])).argmax(1).numpy() for i in range(0, len(pictures), 500)]
    return np.concatenate(found)
