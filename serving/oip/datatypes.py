"""Names of element types in the protocol, and arrays of numbers as they stand in JSON or in typed fields."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.manifest import Dtype
from serving.oip.errors import invalid

DATATYPES: Final[dict[Dtype, str]] = {"uint8": "UINT8", "float32": "FP32", "int64": "INT64"}
"""Those that a bundle's tensors may have. The protocol knows more; a request with one of them fits no model here."""
DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "UINT8": np.dtype("u1"),
    "FP32": np.dtype("<f4"),
    "INT64": np.dtype("<i8"),
}
_MAX_RANK: Final = 16


def bytes_of_numbers(name: str, datatype: str, shape: Sequence[int], data: object) -> bytes:
    """The little-endian bytes of a tensor whose elements stand in lists, flat or nested as the shape is.

    Raises:
        RequestRefused: not as many numbers as the shape needs, nested otherwise, or out of the type's range.
    """
    flat = _flattened(name, shape, data)
    dtype = DTYPES[datatype]
    kinds = set(map(type, flat))
    allowed = {int, float} if dtype.kind == "f" else {int}
    if not kinds <= allowed:
        odd = ", ".join(sorted(kind.__name__ for kind in kinds - allowed))
        raise invalid(f"input {name!r} is {datatype} and its data hold elements of type {odd}")
    return array_of_numbers(name, datatype, flat).tobytes()


def array_of_numbers(name: str, datatype: str, flat: Sequence[Any]) -> NDArray[Any]:
    """One axis of numbers as the type's array, little-endian.

    Raises:
        RequestRefused: one is out of the type's range.
    """
    dtype = DTYPES[datatype]
    try:
        wide = np.array(flat, dtype=np.float64 if dtype.kind == "f" else np.int64)
    except OverflowError as exc:
        raise invalid(f"input {name!r} holds a number that no {datatype} can be") from exc
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            narrow = wide.astype(dtype)
        fits = bool(np.array_equal(np.isfinite(narrow), np.isfinite(wide)))
    else:
        limits = np.iinfo(dtype)
        fits = not wide.size or bool(wide.min() >= limits.min and wide.max() <= limits.max)
        narrow = wide.astype(dtype)
    if not fits:
        raise invalid(f"input {name!r} holds a number that no {datatype} can be")
    return narrow


def _flattened(name: str, shape: Sequence[int], data: object) -> list[Any]:
    if not isinstance(data, list):
        raise invalid(f"the data of input {name!r} must be an array")
    flat, lengths = data, [len(data)]
    while flat and isinstance(flat[0], list):
        if len(lengths) > _MAX_RANK or set(map(type, flat)) != {list} or len(set(map(len, flat))) > 1:
            raise invalid(f"the data of input {name!r} are nested unevenly")
        lengths.append(len(flat[0]))
        flat = list(chain.from_iterable(flat))
    elements = elements_of(shape)
    if len(flat) != elements:
        raise invalid(f"input {name!r} has {len(flat)} elements where its shape {list(shape)} needs {elements}")
    if len(lengths) > 1 and lengths != list(shape):
        raise invalid(f"the data of input {name!r} are nested as {lengths} and its shape is {list(shape)}")
    return flat


def elements_of(shape: Sequence[int]) -> int:
    """Elements of a tensor; exact, however large the dimensions."""
    count = 1
    for dimension in shape:
        count *= dimension
    return count
