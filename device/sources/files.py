"""Pictures and arrays in files: of a folder, or of a pattern."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from device.errors import SourceError
from device.sources.source import Item

SUFFIXES = (".jpeg", ".jpg", ".npy", ".png")


def files_of_folder(folder: Path) -> list[Path]:
    """Its pictures and arrays, by name.

    Raises:
        SourceError: no such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise SourceError(f"source.path {str(folder)!r} is not a folder; set it to a folder of pictures")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise SourceError(f"source.path {str(folder)!r} holds no {', '.join(SUFFIXES)} file; put some there")
    return paths


def files_of_pattern(pattern: str) -> list[Path]:
    """Files that a shell pattern names (`**` for folders at any depth), by path.

    Raises:
        SourceError: it names none.
    """
    paths = sorted(path for path in map(Path, glob.glob(pattern, recursive=True)) if path.is_file())
    if not paths:
        raise SourceError(f"source.path {pattern!r} names no file; write it like shots/**/*.png")
    return paths


def read_all(paths: Sequence[Path]) -> Iterator[Item]:
    """One pass over files, each read when it is asked for."""
    return ((path.name, read_item(path)) for path in paths)


def read_item(path: Path) -> NDArray[Any] | str:
    """A picture as uint8 [height, width, 3], or an array as it is; where it cannot be read, the reason."""
    try:
        if path.suffix.lower() == ".npy":
            array: NDArray[Any] = np.load(path, allow_pickle=False)
            return array
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except UnidentifiedImageError:
        return f"{path.name} cannot be read: it is not a picture"
    except (OSError, ValueError, EOFError, SyntaxError, Image.DecompressionBombError) as exc:
        # Pillow reports damaged PNG chunks as SyntaxError; NumPy a damaged header as ValueError.
        return f"{path.name} cannot be read: {exc}"
