"""What one would send without isthmus: the picture as a file, or the tensor in few bits under zstd. Real bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import zstandard
from numpy.typing import NDArray
from PIL import Image, features

Format = Literal["jpeg", "webp", "avif"]
QUALITIES: Final[dict[Format, tuple[int, ...]]] = {
    "jpeg": (5, 10, 20, 35, 50, 70, 85, 95),
    "webp": (0, 5, 15, 30, 50, 70, 85, 95),
    "avif": (5, 15, 25, 35, 50, 65, 80, 95),
}
BITS: Final = (2, 3, 4, 5, 6, 7, 8)
_OPTIONS: Final[dict[Format, dict[str, Any]]] = {
    "jpeg": {"optimize": True},
    "webp": {"method": 6},
    "avif": {"speed": 6, "max_threads": 1},
}


def formats() -> tuple[Format, ...]:
    """Those that this Pillow can write."""
    return tuple(name for name in QUALITIES if name == "jpeg" or features.check(name))


def picture_files(
    pictures: Sequence[NDArray[np.uint8]], format: Format, quality: int, options: Mapping[str, Any] | None = None
) -> list[bytes]:
    """Each picture, uint8 [height, width, 3] or grey [height, width], as a file; `options` of Pillow replace ours."""
    made = []
    for picture in pictures:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, format, quality=quality, **(options or _OPTIONS[format]))
        made.append(file.getvalue())
    return made


def read_pictures(files: Sequence[bytes], mode: Literal["RGB", "L"] = "RGB") -> NDArray[np.uint8]:
    """The pictures of files that `picture_files` wrote, uint8 [items, height, width, 3], or without the 3 for "L"."""
    return np.stack([np.asarray(Image.open(io.BytesIO(file)).convert(mode)) for file in files])


def bare_sizes(
    pictures: Sequence[NDArray[np.uint8]], files: Sequence[bytes], format: Format, quality: int
) -> NDArray[np.int64]:
    """Bytes of each file without what both ends could know beforehand, [pictures].

    That is every place at which all files of one length agree: headers, and what follows from the length. JPEG is
    written anew with the tables of the standard, which agree, instead of tables of each picture's own.

    Args:
        pictures: hundreds of one size, or places will agree by chance.
        files: that `picture_files` made of them.
    """
    if format == "jpeg":
        files = picture_files(pictures, format, quality, {"optimize": False})
    sizes = np.array([len(file) for file in files])
    order = np.argsort(sizes)
    fronts = np.stack([np.frombuffer(files[place][: sizes.min()], np.uint8) for place in order])
    differs = (fronts[1:] != fronts[:-1]) & (np.diff(sizes[order]) == 0)[:, None]
    bare: NDArray[np.int64] = sizes - int((~differs.any(0)).sum())
    return bare


def quantised(activation: NDArray[np.float32], bits: int) -> tuple[bytes, NDArray[np.float32]]:
    """One tensor in `bits` bits between its own least and greatest value, packed, under zstd-19.

    Returns:
        The payload, with two floats for the range, and what a receiver would restore.
    """
    low, high = float(activation.min()), float(activation.max())
    most = (1 << bits) - 1
    scale = (high - low) / most or 1.0
    steps = np.rint((activation - low) / scale).astype(np.uint8)
    compressor = zstandard.ZstdCompressor(level=19)
    ways = [steps.tobytes(), _packed(steps, bits)]  # zstd often does better on whole bytes than on packed bits
    payload = min((compressor.compress(way) for way in ways), key=len)
    restored = (steps * np.float32(scale) + np.float32(low)).astype(np.float32)
    return np.array([low, high], "<f4").tobytes() + payload, restored


def _packed(steps: NDArray[np.uint8], bits: int) -> bytes:
    planes = np.unpackbits(steps.reshape(-1, 1), axis=1)[:, 8 - bits :]
    return np.packbits(planes).tobytes()
