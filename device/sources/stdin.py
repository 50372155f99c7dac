"""Arrays on standard input: NPY files one after the other, or raw bytes of a known shape."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from device.errors import SourceError
from device.sources.source import Item

MAX_BYTES = 1 << 28
"""Bound on one item."""
_format: Any = np.lib.format
"""NumPy publishes these functions without types."""


def npy_arrays(stream: BinaryIO | None = None) -> Iterator[Item]:
    """Arrays as `numpy.save` writes them, end to end. A damaged one ends the stream with its reason.

    Args:
        stream: to read from; standard input by default.
    """
    stream = sys.stdin.buffer if stream is None else stream
    number = 0
    while magic := stream.read(_format.MAGIC_LEN):
        try:
            yield f"stdin:{number}", _array(stream, _format.read_magic(BytesIO(magic)))
        except ValueError as exc:
            yield f"stdin:{number}", f"item {number} of standard input is no whole NPY array: {exc}"
            return
        number += 1


def raw_arrays(shape: tuple[int, ...], dtype: str, stream: BinaryIO | None = None) -> Iterator[Item]:
    """Arrays of one shape as bare bytes, row-major, for example `ffmpeg -f rawvideo -pix_fmt rgb24 -`.

    Args:
        shape: of one item.
        dtype: NumPy's name.
        stream: to read from; standard input by default.

    Raises:
        SourceError: the stream ends within an item.
    """
    stream = sys.stdin.buffer if stream is None else stream
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    number = 0
    while data := stream.read(size):
        if len(data) < size:
            raise SourceError(
                f"standard input ended {len(data)} bytes into an item of {size}; check source.shape = {list(shape)}"
            )
        yield f"stdin:{number}", np.frombuffer(data, dtype).reshape(shape)
        number += 1


def _array(stream: BinaryIO, version: tuple[int, int]) -> NDArray[Any]:
    reader = _format.read_array_header_1_0 if version == (1, 0) else _format.read_array_header_2_0
    shape, column_major, dtype = reader(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, and those are never unpickled")
    count = int(np.prod(shape))
    if count * dtype.itemsize > MAX_BYTES:
        raise ValueError(f"it declares {count} elements of {dtype}")
    data = stream.read(count * dtype.itemsize)
    if len(data) < count * dtype.itemsize:
        raise ValueError(f"it ends after {len(data)} of {count * dtype.itemsize} bytes")
    flat = np.frombuffer(data, dtype)
    return flat.reshape(shape[::-1]).transpose() if column_major else flat.reshape(shape)
