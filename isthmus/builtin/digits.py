"""Digits in the wild: a handwritten digit somewhere on a crop of a real photograph, drawn from a seed.

The digits are the 1,797 of scikit-learn (Alpaydin and Kaynak, UCI), the photographs those that scikit-learn and
scikit-image carry in their wheels. Train and test share neither a digit nor a photograph.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Split = Literal["train", "test"]

SIDE = 128
CLASSES = tuple("0123456789")
TEST_SHARE = 0.25
"""Share of the handwritten digits that only the test split uses."""

PHOTOGRAPHS: dict[Split, tuple[str, ...]] = {
    "train": (
        "astronaut.png", "brick.png", "camera.png", "china.jpg", "clock_motion.png", "coins.png", "grass.png",
        "hubble_deep_field.jpg", "ihc.png", "motorcycle_left.png", "retina.jpg", "rocket.jpg",
    ),
    "test": ("chelsea.png", "coffee.png", "flower.jpg", "gravel.png", "moon.png"),
}  # fmt: skip

_SPLIT_KEY: dict[Split, int] = {"train": 0, "test": 1}


@dataclass(frozen=True, slots=True)
class Item:
    """One labelled picture: `picture` is uint8 [128, 128, 3], RGB."""

    picture: NDArray[np.uint8]
    label: int


@lru_cache(maxsize=2)
def _photographs(split: Split) -> tuple[Image.Image, ...]:
    import skimage
    import sklearn.datasets

    folders = (
        Path(skimage.__file__).parent / "data",
        Path(sklearn.datasets.__file__).parent / "images",
    )
    found = []
    for name in PHOTOGRAPHS[split]:
        path = next(folder / name for folder in folders if (folder / name).is_file())
        with Image.open(path) as picture:
            found.append(picture.convert("RGB"))
    return tuple(found)


@lru_cache(maxsize=2)
def _digits(split: Split) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Handwritten digits of a split as uint8 [n, 8, 8] of 0 to 255, and their labels."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = np.random.default_rng(20).permutation(len(bunch.target))
    test = order[: round(TEST_SHARE * len(order))]
    chosen = test if split == "test" else order[len(test) :]
    strokes = np.clip(bunch.images[chosen] * (255 / 16), 0, 255).astype(np.uint8)
    return strokes, bunch.target[chosen].astype(np.int64)


def _crop(rng: np.random.Generator, split: Split) -> NDArray[np.float32]:
    photographs = _photographs(split)
    photograph = photographs[int(rng.integers(len(photographs)))]
    side = int(rng.integers(3 * SIDE // 4, min(min(photograph.size), 3 * SIDE) + 1))
    left = int(rng.integers(photograph.width - side + 1))
    top = int(rng.integers(photograph.height - side + 1))
    crop = photograph.resize((SIDE, SIDE), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
    return np.rot90(np.asarray(crop, dtype=np.float32), int(rng.integers(4)))


def _background(rng: np.random.Generator, split: Split) -> NDArray[np.float32]:
    """A crop of a photograph; in training half of the time two of them, laid over one another."""
    crop = _crop(rng, split)
    if split == "train" and rng.random() < 0.5:
        share = np.float32(rng.uniform(0.3, 0.7))
        return share * crop + (1 - share) * _crop(rng, split)
    return crop


def _stroke_mask(rng: np.random.Generator, digit: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Opacity of a digit on the picture, float32 [128, 128] of 0 to 1: random size, place, turn and slant.

    The digit is uint8 [8 n, 8 n].
    """
    fineness = len(digit) // 8
    size = rng.uniform(52, 96)
    angle, slant = rng.uniform(-0.25, 0.25), rng.uniform(-0.25, 0.25)
    centre = rng.uniform(size / 2, SIDE - size / 2, size=2)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    outward = rotation @ np.array([[1.0, slant], [0.0, 1.0]]) * (size / 8)
    inward = np.linalg.inv(outward) * fineness
    shift = np.array([5.0, 5.0]) * fineness - inward @ centre
    coefficients = (inward[0, 0], inward[0, 1], shift[0], inward[1, 0], inward[1, 1], shift[1])
    grey = Image.fromarray(np.pad(digit, fineness)).transform(
        (SIDE, SIDE), Image.Transform.AFFINE, coefficients, resample=Image.Resampling.BICUBIC
    )
    soft = np.asarray(grey, dtype=np.float32) / 255
    return np.clip((soft - 0.25) * 2.5, 0, 1)


def _bent(rng: np.random.Generator, digit: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A handwriting that nobody wrote: uint8 [48, 48], points of a coarse grid moved by up to 0.7 of a drawn pixel.

    Elastic distortion after Simard et al., "Best practices for convolutional neural networks" (ICDAR 2003).
    """
    scale = 6
    lines = np.linspace(0, 8, 4)
    moved = np.stack(np.meshgrid(lines, lines, indexing="ij"), axis=-1) + rng.uniform(-0.7, 0.7, size=(4, 4, 2))
    patches = []
    for row, column in np.ndindex(3, 3):
        box = tuple(round(lines[edge] * scale) for edge in (column, row, column + 1, row + 1))
        corners = (moved[row, column], moved[row + 1, column], moved[row + 1, column + 1], moved[row, column + 1])
        patches.append((box, tuple(float(place * scale) for y, x in corners for place in (x, y))))
    fine = Image.fromarray(digit).resize((8 * scale, 8 * scale), Image.Resampling.BICUBIC)
    return np.asarray(fine.transform(fine.size, Image.Transform.MESH, patches, resample=Image.Resampling.BILINEAR))


def _ink(rng: np.random.Generator, beneath: NDArray[np.float32]) -> NDArray[np.float32]:
    """A colour at least 90 grey levels lighter or darker than what lies beneath the strokes."""
    weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)
    luminance = float(beneath @ weights)
    while True:
        colour = rng.uniform(0, 255, size=3).astype(np.float32)
        if abs(float(colour @ weights) - luminance) >= 90:
            return colour


def draw(split: Split, index: int, *, seed: int = 0) -> Item:
    """Draw item `index` of a split. The same arguments give the same picture."""
    rng = np.random.default_rng([seed, _SPLIT_KEY[split], index])
    strokes, labels = _digits(split)
    chosen = int(rng.integers(len(labels)))
    digit = _bent(rng, strokes[chosen]) if split == "train" else strokes[chosen]
    return _painted(rng, split, digit, int(labels[chosen]))


def draw_between(split: Split, index: int, *, seed: int = 0) -> Item:
    """Draw a shape between two digits, for distillation: it has no right answer, and its label is that of the first."""
    rng = np.random.default_rng([seed, _SPLIT_KEY[split], index, 2])
    strokes, labels = _digits(split)
    first, second = (int(place) for place in rng.integers(len(labels), size=2))
    share = rng.uniform(0.0, 0.7)
    shape = np.maximum((1 - share) * strokes[first], share * strokes[second]) * rng.uniform(1.0, 1.3)
    return _painted(rng, split, _bent(rng, np.clip(shape, 0, 255).astype(np.uint8)), int(labels[first]))


def _painted(rng: np.random.Generator, split: Split, digit: NDArray[np.uint8], label: int) -> Item:
    picture = _background(rng, split)
    mask = _stroke_mask(rng, digit)
    beneath = (picture * mask[..., None]).sum(axis=(0, 1)) / max(float(mask.sum()), 1e-6)
    opacity = (mask * rng.uniform(0.8, 1.0))[..., None]
    blended = picture * (1 - opacity) + _ink(rng, beneath) * opacity
    return Item(np.clip(np.rint(blended), 0, 255).astype(np.uint8), label)


def unlabelled(index: int, *, seed: int = 0) -> Item:
    """Draw item `index` of the pictures for distillation: two of five are shapes between digits."""
    return draw_between("train", index, seed=seed) if index % 5 < 2 else draw("train", 1_000_000 + index, seed=seed)


def items(split: Split, count: int, *, seed: int = 0, start: int = 0) -> Iterator[Item]:
    """Draw `count` items from `start` on."""
    return (draw(split, index, seed=seed) for index in range(start, start + count))


def arrays(split: Split, count: int, *, seed: int = 0, start: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw items into uint8 [count, 128, 128, 3] and int64 [count]."""
    pictures = np.empty((count, SIDE, SIDE, 3), dtype=np.uint8)
    labels = np.empty(count, dtype=np.int64)
    for place, item in enumerate(items(split, count, seed=seed, start=start)):
        pictures[place], labels[place] = item.picture, item.label
    return pictures, labels
