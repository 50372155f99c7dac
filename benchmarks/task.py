"""A classifier on a data set of small pictures: what trained compressors and picture files are compared on."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from isthmus.evaluation import baselines
from isthmus.training.samples import varied
from partitioner.compressors.resumable import Report

RESULTS = Path(os.environ.get("ISTHMUS_RESULTS", "results"))
SCALE = float(os.environ.get("ISTHMUS_SCALE", "1"))
"""Share of steps and pictures; below 1 only exercises the path, in another ISTHMUS_RESULTS."""
BATCH = 500
Split = Literal["train", "test"]
Pictures = NDArray[np.uint8]
Classes = NDArray[np.int64]


def steps_of(steps: int) -> int:
    """Steps of a training at this scale."""
    return max(round(steps * SCALE), 10)


@dataclass(frozen=True)
class Task:
    """One network and its pictures.

    Attributes:
        work: folder of everything that was trained and measured.
        mode: of the picture files; "L" for pictures [height, width, 1].
        shift: pixels that training pictures are moved by at most.
        read: pictures, uint8 [items, height, width, colours], and classes, int64 [items].
        train: the network, trained or taken from the work folder, in evaluation mode.
    """

    work: Path
    mode: Literal["RGB", "L"]
    shift: int
    read: Callable[[Split], tuple[Pictures, Classes]]
    train: Callable[[Report], nn.Module]

    @cached_property
    def samples(self) -> Samples:
        """Training pictures."""
        return Samples(*self.read("train"), self.shift)

    @cached_property
    def tests(self) -> tuple[Pictures, Classes]:
        """Test pictures and classes."""
        return self.read("test")

    def planes(self, pictures: Pictures) -> list[NDArray[np.uint8]]:
        """Pictures as they become files."""
        return list(pictures[..., 0] if self.mode == "L" else pictures)

    def opened(self, files: Sequence[bytes]) -> Pictures:
        """Files as pictures."""
        found = baselines.read_pictures(files, self.mode)
        return found[..., None] if self.mode == "L" else found


class Samples:
    """Training pictures, mirrored and moved."""

    def __init__(self, pictures: Pictures, labels: Classes, shift: int) -> None:
        self.pictures, self.labels = torch.from_numpy(pictures), torch.from_numpy(labels)
        self._shift = shift

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, chosen: NDArray[np.int64]) -> tuple[Tensor, Tensor | None]:
        return varied(self.pictures[chosen], mirror=True, shift=self._shift), self.labels[chosen]


@torch.inference_mode()
def answers(network: nn.Module, pictures: Pictures) -> Classes:
    """Classes, int64 [items]."""
    found = [
        network(torch.from_numpy(pictures[i : i + BATCH])).argmax(1).numpy() for i in range(0, len(pictures), BATCH)
    ]
    return np.concatenate(found)


def accuracy(network: nn.Module, pictures: Pictures, labels: Classes) -> float:
    """Share of right answers."""
    return float((answers(network, pictures) == labels).mean())
