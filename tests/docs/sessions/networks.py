"""Networks and pictures of the reader of the pages, as small as will do: `python networks.py FOLDER COUNT [dark]`."""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn


class Net(nn.Module):
    """Layers under the names that the pages use; takes float32 [n, 3, h, w] or pictures, uint8 [n, h, w, 3]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer1 = nn.Sequential(nn.Conv2d(3, width, 8, 8), nn.ReLU())
        self.layer2 = nn.Sequential(nn.Conv2d(width, width, 3, 2, 1), nn.ReLU())
        self.layer3 = nn.Sequential(nn.Conv2d(width, width, 3, 2, 1), nn.ReLU())
        self.last = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.uint8:
            x = x.permute(0, 3, 1, 2).float() / 127.5 - 1
        return self.last(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


class Photo(nn.Module):
    """Fifteen small blocks, of pictures."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        first = [nn.Conv2d(3, 8, 8, 8), nn.ReLU()]
        self.features = nn.Sequential(*first, *(nn.Conv2d(8, 8, 3, padding=1) for _ in range(13)))
        self.last = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.features(x.permute(0, 3, 1, 2).float() / 255).mean((2, 3)))


def resnet() -> nn.Module:
    return Net(12).eval()


def tiny() -> nn.Module:
    return Net(4).eval()


def photo() -> nn.Module:
    return Photo().eval()


def write(folder: Path, count: int, *, dark: bool) -> None:
    """Smooth colours as PNG files; dark ones have nothing to see."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 30 if dark else 256, (4, 4, 3), np.uint8))
        coarse.resize((64, 64), Image.Resampling.BICUBIC).save(folder / f"{number:03}.png")


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]), dark="dark" in sys.argv[3:])
