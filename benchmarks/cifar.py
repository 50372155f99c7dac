"""CIFAR-10 of ISTHMUS_DATA (lossy copies) and its ResNets, as `benchmarks/cifar10.toml` names them.

    isthmus train benchmarks/cifar10.toml

The published weights were trained on the lossless pictures and lose ten points on these copies, so the network is tuned
on them first: half an hour on one free core for ResNet-20, kept in the results folder, resumable.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.task import RESULTS, SCALE, Split, Task, steps_of
from isthmus.training.samples import varied
from partitioner.compressors.resumable import Report, Schedule, fit
from partitioner.compressors.trainer import batch_at

DATA = Path(os.environ.get("ISTHMUS_DATA", "../shared/data"))
WORK = RESULTS / "cifar"
MEAN: Final = (0.485, 0.456, 0.406)
DEVIATION: Final = (0.229, 0.224, 0.225)
EPOCHS, BATCH = 12, 128


def at_hand() -> bool:
    """Whether data and weights are there."""
    return (DATA / "cifar10" / "cifar10_test.npz").is_file() and _weights(20).is_file()


def _weights(layers: int) -> Path:
    return DATA / "weights" / f"resnet{layers}_cifar10.safetensors"


def read(split: Split, count: int | None = None) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The first pictures of a split, uint8 [items, 32, 32, 3], and their classes; any prefix has all classes alike."""
    with np.load(DATA / "cifar10" / f"cifar10_{split}.npz", allow_pickle=False) as found:
        files, offsets, labels = found["jpeg"], found["offsets"], found["labels"][:count]
    pictures = [
        np.asarray(Image.open(io.BytesIO(files[offsets[item] : offsets[item + 1]].tobytes())))
        for item in range(len(labels))
    ]
    return np.stack(pictures), labels.astype(np.int64)


class _Block(nn.Module):
    """Two 3x3 convolutions; a shortcut that skips pixels and adds empty channels where shapes differ."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.stride, self.added = (1 if inputs == outputs else 2), (outputs - inputs) // 2
        self.conv1 = nn.Conv2d(inputs, outputs, 3, self.stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.added:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.added, self.added))
        return F.relu(x + y)


class ResNet(nn.Module):
    """He et al., "Deep residual learning for image recognition", CVPR 2016, section 4.2; takes uint8 pictures."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, layers: int) -> None:
        super().__init__()
        blocks = (layers - 2) // 6
        self.register_buffer("mean", 255 * torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation", 255 * torch.tensor(DEVIATION)[:, None, None], persistent=False)
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(_Block(16, 16) for _ in range(blocks)))
        self.layer2 = nn.Sequential(_Block(16, 32), *(_Block(32, 32) for _ in range(blocks - 1)))
        self.layer3 = nn.Sequential(_Block(32, 64), *(_Block(64, 64) for _ in range(blocks - 1)))
        self.linear = nn.Linear(64, 10)

    def forward(self, pictures: Tensor) -> Tensor:
        x = (pictures.permute(0, 3, 1, 2).float() - self.mean) / self.deviation
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


def published(layers: int = 20) -> ResNet:
    """As published: 81 % on these copies with 20 layers."""
    network = ResNet(layers)
    network.load_state_dict(load_file(_weights(layers)))
    return network.eval()


def tuned(layers: int = 20, report: Report = lambda told, done: None) -> ResNet:
    """Trained on with these copies, or taken from the results folder."""
    network = published(layers).train()
    pictures, labels = (torch.from_numpy(array) for array in read("train"))

    def loss_at(step: int) -> tuple[Tensor, str]:
        chosen = torch.from_numpy(batch_at(step, len(labels), BATCH, layers))
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(varied(pictures[chosen], mirror=True, shift=4))
        loss = F.cross_entropy(logits.float(), labels[chosen], label_smoothing=0.05)
        return loss, f"ResNet-{layers}: loss {float(loss.detach()):.3f}"

    schedule = Schedule(steps_of(EPOCHS * 390), 2e-3, layers, weight_decay=0.02)
    fit(network, loss_at, schedule, file=WORK / f"resnet{layers}.safetensors", report=report)
    return network.eval()


class Pictures:
    """A data set for recipes: `len`, and [index] gives a picture and its class."""

    def __init__(self, split: Split) -> None:
        self._pictures, self._labels = read(split)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], int]:
        return self._pictures[index], int(self._labels[index])


def resnet20() -> nn.Module:
    """The recipe's model."""
    return tuned(20)


def seen() -> Pictures:
    """What the recipe trains on."""
    return Pictures("train")


def fresh() -> Pictures:
    """What the recipe measures on."""
    return Pictures("test")


def _scaled(split: Split) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All pictures, or the first of them on a smaller scale."""
    pictures, labels = read(split)
    count = max(round(len(labels) * SCALE), 2 * BATCH)
    return pictures[:count], labels[:count]


TASK: Final = Task(WORK / "resnet20", "RGB", 4, _scaled, lambda report: tuned(20, report))
