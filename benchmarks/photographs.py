"""The photographs and the MobileNetV2 of ISTHMUS_DATA, as several benchmarks use them."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from partitioner.torchvision_shim import declare_missing_operators

DATA = Path(os.environ.get("ISTHMUS_DATA", "../shared/data"))
WEIGHTS = DATA / "weights" / "mobilenet_v2_imagenet.safetensors"
SIDE = 224


def at_hand() -> bool:
    """Whether both are there."""
    return WEIGHTS.is_file() and (DATA / "imagenet_sample" / "labels.csv").is_file()


def photographs(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Centre crops, uint8 [count, 224, 224, 3], in an order drawn from the seed; at most 600."""
    folder = DATA / "imagenet_sample"
    with (folder / "labels.csv").open() as file:
        names = [row["file"] for row in csv.DictReader(file)]
    drawn = np.random.default_rng(seed).permutation(len(names))[:count]
    return np.stack([_crop(folder / "images" / names[index]) for index in drawn])


def labels(count: int, seed: int = 0) -> NDArray[np.int64]:
    """Classes in the order of `photographs(count, seed)`."""
    with (DATA / "imagenet_sample" / "labels.csv").open() as file:
        classes = np.array([int(row["class_index"]) for row in csv.DictReader(file)])
    return np.asarray(classes[np.random.default_rng(seed).permutation(len(classes))[:count]], np.int64)


def _crop(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        left, top = (picture.width - SIDE) // 2, (picture.height - SIDE) // 2
        return np.asarray(picture.convert("RGB").crop((left, top, left + SIDE, top + SIDE)))


class MobileNet(nn.Module):
    """MobileNetV2 on uint8 pictures [batch, 224, 224, 3].

    The weights were trained with padding on the right and bottom only; turning kernels and picture by 180 degrees
    makes torchvision's padding equal to it (see the data's own README).
    """

    def __init__(self) -> None:
        super().__init__()
        declare_missing_operators()
        from torchvision.models import mobilenet_v2

        self.net = mobilenet_v2()
        weights = load_file(WEIGHTS)
        self.net.load_state_dict({k: v.flip(2, 3) if v.ndim == 4 else v for k, v in weights.items()})
        self.eval().requires_grad_(False)

    def forward(self, pictures: Tensor) -> Tensor:
        answer: Tensor = self.net((pictures.permute(0, 3, 1, 2).float() / 127.5 - 1.0).flip(2, 3))
        return answer


def cut_after(blocks: int) -> str:
    """Name of the cut behind that many blocks, the stem counted as the first."""
    return f"net.features.{blocks - 1}"


@torch.inference_mode()
def in_batches(run: object, items: Tensor, size: int = 25) -> Tensor:
    """A function's results on all items, batch by batch."""
    assert callable(run)
    return torch.cat([run(batch) for batch in items.split(size)])
