"""Tensors as the kit sends and reads them, from the text of the protocol: no code of our own server is in it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

DATATYPES: Final = (
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES",
    "BF16",
)  # fmt: skip
FIELDS: Final = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip
_NUMPY: Final = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
_TOLERANCE: Final = 1e-3
"""Share of a value, and of the largest in its tensor, by which engines may differ between one batch and another."""
INTEGERS: Final = tuple(name for name in _NUMPY if "INT" in name)


@dataclass(frozen=True, slots=True)
class Declared:
    """A tensor of a model's metadata; -1 is a variable dimension."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether a tensor of this shape may be one."""
        return len(shape) == len(self.shape) and all(
            mine in (-1, theirs) for mine, theirs in zip(self.shape, shape, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor with its values: an array of numbers, or a list of byte strings for BYTES."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: NDArray[Any]

    @property
    def raw(self) -> bytes:
        """As binary data: little-endian, row-major; byte strings each behind their length in four bytes."""
        if self.datatype == "BYTES":
            return b"".join(struct.pack("<I", len(value)) + value for value in self.values.ravel())
        return self.values.astype(_NUMPY[self.datatype]).tobytes()

    @property
    def flat(self) -> list[Any]:
        """As the elements of a JSON array."""
        return [value.decode() if isinstance(value, bytes) else value for value in self.values.ravel().tolist()]

    @property
    def nested(self) -> Any:
        """As JSON arrays in each other."""
        return np.array(self.flat, dtype=object).reshape(self.shape).tolist()


def sample(declared: Declared, shape: Sequence[int], seed: int) -> Tensor:
    """A tensor of small values, the same for the same seed.

    Zeros and ones, as whole numbers may be indices; fractions between for floating point; all bytes for UINT8.
    """
    generator = np.random.default_rng(seed)
    if declared.datatype == "BYTES":
        values = np.array([b"%d" % value for value in generator.integers(0, 2, shape).ravel()], dtype=object)
        return Tensor(declared.name, "BYTES", tuple(shape), values.reshape(shape))
    if declared.datatype == "UINT8":
        values = generator.integers(0, 256, shape, dtype=np.uint8)
    elif declared.datatype.startswith("FP"):
        values = generator.random(shape).astype(_NUMPY[declared.datatype])
    else:
        values = generator.integers(0, 2, shape).astype(_NUMPY[declared.datatype])
    return Tensor(declared.name, declared.datatype, tuple(shape), values)


def from_raw(name: str, datatype: str, shape: Sequence[int], data: bytes) -> Tensor:
    """A tensor from binary data.

    Raises:
        ValueError: not as many bytes as the shape and type need.
    """
    if datatype == "BYTES":
        values, at = [], 0
        while at < len(data):
            (length,) = struct.unpack_from("<I", data, at)
            values.append(data[at + 4 : at + 4 + length])
            at += 4 + length
        array = np.array([None, *values], dtype=object)[1:]
    else:
        array = np.frombuffer(data, _NUMPY[datatype])
    return Tensor(name, datatype, tuple(shape), array.reshape(shape))


def from_elements(name: str, datatype: str, shape: Sequence[int], elements: Any) -> Tensor:
    """A tensor from numbers, flat or nested.

    Raises:
        ValueError: not as many as the shape needs, or of another type.
    """
    if datatype == "BYTES":
        flat = np.array(elements, dtype=object).ravel()
        array = np.array([None, *(value.encode() if isinstance(value, str) else value for value in flat)], dtype=object)
        return Tensor(name, datatype, tuple(shape), array[1:].reshape(shape))
    return Tensor(name, datatype, tuple(shape), np.array(elements, dtype=_NUMPY[datatype]).reshape(shape))


def alike(one: Tensor, other: Tensor) -> bool:
    """The same tensor, but for what floating point may differ by."""
    if (one.name, one.datatype, one.shape) != (other.name, other.datatype, other.shape):
        return False
    if one.datatype == "BYTES":
        return bool((one.values == other.values).all())
    mine, theirs = one.values.astype(np.float64), other.values.astype(np.float64)
    return bool(np.allclose(mine, theirs, rtol=_TOLERANCE, atol=_TOLERANCE * float(np.abs(theirs).max(initial=0.0))))
