"""Samples and labels from files: a folder of pictures, or one array. Nothing is unpickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from isthmus.evaluation.errors import BadItems

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def read_items(path: Path, limit: int, *, side: tuple[int, int] | None = None) -> NDArray[Any]:
    """At most `limit` samples, [items, ...].

    Args:
        path: a .npy file of samples, or a folder of pictures (taken in the order of their names).
        side: height and width that pictures are brought to: the shorter side is scaled, the middle cut out.

    Raises:
        BadItems: nothing there that can be read; pictures, but no side.
    """
    if path.is_dir():
        if side is None:
            raise BadItems(
                f"{path} is a folder of pictures and the model does not take any; pass a .npy file of inputs"
            )
        names = sorted(name for name in path.iterdir() if name.suffix.lower() in SUFFIXES)[:limit]
        if not names:
            raise BadItems(f"{path} holds no picture ({', '.join(SUFFIXES)}); check the folder")
        return np.stack([_picture(name, *side) for name in names])
    items = _array(path)
    if items.ndim < 1 or len(items) == 0:
        raise BadItems(f"{path} holds no samples; its first axis must run over them")
    return items[:limit]


def read_labels(path: Path, count: int) -> NDArray[np.int64]:
    """The classes of the first `count` samples, from a .npy file of integers.

    Raises:
        BadItems: not so many integers.
    """
    labels = _array(path)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) < count:
        raise BadItems(f"{path} must hold one integer for each of {count} samples, not {labels.dtype} {labels.shape}")
    return labels[:count].astype(np.int64)


def _array(path: Path) -> NDArray[Any]:
    try:
        loaded = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as exc:
        raise BadItems(f"{path} cannot be read as a .npy array: {exc}; pass a .npy file") from exc
    if not isinstance(loaded, np.ndarray):
        raise BadItems(f"{path} is an archive of several arrays; save the one as .npy")
    return loaded


def _picture(path: Path, height: int, width: int) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as exc:
        raise BadItems(f"{path} cannot be read as a picture: {exc}; remove it from the folder") from exc
    scale = max(height / picture.height, width / picture.width)
    if scale != 1:
        size = max(width, round(picture.width * scale)), max(height, round(picture.height * scale))
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return np.asarray(picture.crop((left, top, left + width, top + height)))
