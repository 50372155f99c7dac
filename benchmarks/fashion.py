"""Fashion-MNIST of ISTHMUS_DATA, and the network that the figures of learned compressors are measured on."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.task import RESULTS, SCALE, Pictures, Split, Task, accuracy
from isthmus.training.samples import varied
from partitioner.compressors.resumable import Report, Schedule, fit
from partitioner.compressors.trainer import batch_at

DATA = Path(os.environ.get("ISTHMUS_DATA", "../shared/data")) / "fashion_mnist"
WORK = RESULTS / "fashion"
SEED: Final = 1
EPOCHS, BATCH = 9, 128


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
    """Classifies uint8 [batch, 28, 28, 1]: logits float32 [batch, 10]; 12.7 MMAC, or 3.2 with half of the width.

    Behind `blocks.1` lie 8 % of the multiply-accumulates (32x14x14), behind `blocks.3` 44 % (64x7x7).
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            [
                _convolution(1, width, 1), _convolution(width, 2 * width, 2), _Residual(2 * width),
                _convolution(2 * width, 4 * width, 2), _Residual(4 * width), _Residual(4 * width),
            ]
        )  # fmt: skip
        self.classify = nn.Linear(4 * width, 10)

    def forward(self, pictures: Tensor) -> Tensor:
        x = (pictures.permute(0, 3, 1, 2).to(torch.float32) - 72.9) / 90.0
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.classify(x.mean((2, 3)))
        return logits


def train_network(file: Path, seed: int, report: Report, width: int = 16) -> FashionNet:
    """The network from scratch, resumable; in evaluation mode."""
    pictures, labels = (torch.from_numpy(array) for array in read("train"))
    torch.manual_seed(seed)
    network = FashionNet(width).train()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss_at(step: int) -> tuple[Tensor, str]:
        chosen = torch.from_numpy(batch_at(step, len(labels), BATCH, seed))
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(varied(pictures[chosen], mirror=True, shift=2))
        loss = F.cross_entropy(logits.float(), labels[chosen], label_smoothing=0.05)
        return loss, f"{file.stem}: loss {float(loss.detach()):.3f}"

    steps = EPOCHS * max(len(labels) // BATCH, 2)
    fit(network, loss_at, Schedule(steps, 4e-3, seed, weight_decay=0.02, rise=0.15), file=file, report=report)
    return network.eval()


def network(report: Report) -> FashionNet:
    """The one that everything is measured on."""
    return train_network(WORK / "network.safetensors", SEED, report)


def small_accuracy(report: Report) -> float:
    """Share of right answers of a network with a quarter of the multiply-accumulates, alone on the device."""
    if not SMALL.is_file():
        found = accuracy(train_network(SMALL.with_suffix(".safetensors"), SEED, report, width=8), *TASK.tests)
        beside = SMALL.with_suffix(".partial.npz")
        np.savez(beside, accuracy=found)
        beside.replace(SMALL)
    with np.load(SMALL, allow_pickle=False) as kept:
        return float(kept["accuracy"])


SMALL: Final = WORK / "small.npz"
TASK: Final = Task(WORK, "L", 2, read, network)
