"""What models of several inputs take: one row of bytes, the inputs' own bytes one behind the other.

So a frame carries one tensor at every cut, the first one included, whatever the dtypes of the inputs. To programs an
item of such a model is a NumPy record with a field for each input; NPY files hold records too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import UnsupportedShape
from runtime.manifest import Manifest, TensorSpec


def record_type(inputs: Sequence[TensorSpec]) -> np.dtype[np.void]:
    """A record with a field for each input, of one item, little-endian and without gaps."""
    return np.dtype([(spec.name, np.dtype(spec.dtype).newbyteorder("<"), spec.shape) for spec in inputs])


def joined(records: NDArray[Any], inputs: Sequence[TensorSpec]) -> NDArray[np.uint8]:
    """What cut 0 carries for some items.

    Args:
        records: [...] records whose fields have the names, dtypes and shapes of the inputs, in any order.
        inputs: as the manifest declares them.

    Returns:
        uint8 [..., *`TensorSpec.of_several(inputs).shape`].

    Raises:
        UnsupportedShape: no such records; names the first field that differs.
    """
    fields: Mapping[str, Any] = records.dtype.fields or {}
    for spec in inputs:
        given = fields[spec.name][0] if spec.name in fields else None
        if given is None or given.base != np.dtype(spec.dtype) or given.shape != spec.shape:
            found = "is not there" if given is None else f"is {given.base} {list(given.shape)}"
            raise UnsupportedShape(
                f"the model takes records with a field {spec.name!r} of {spec.dtype} {list(spec.shape)}, which "
                f"{found}; give NumPy records with a field for each input"
            )
    packed, row = record_type(inputs), TensorSpec.of_several(inputs)
    ordered = np.zeros(records.shape, packed)
    for spec in inputs:
        ordered[spec.name] = records[spec.name]
    rows = np.zeros((*records.shape, row.nbytes), np.uint8)
    rows[..., : packed.itemsize] = np.frombuffer(ordered.tobytes(), np.uint8).reshape(*records.shape, packed.itemsize)
    return rows.reshape(*records.shape, *row.shape)


def parted(rows: NDArray[np.uint8], inputs: Sequence[TensorSpec]) -> list[NDArray[Any]]:
    """The inputs, [batch, ...] each, of what cut 0 carries, uint8 [batch, ...]."""
    packed = record_type(inputs)
    flat = np.ascontiguousarray(rows.reshape(len(rows), -1)[:, : packed.itemsize])
    records = flat.view(packed)[:, 0]
    return [np.ascontiguousarray(records[spec.name], spec.dtype) for spec in inputs]


def row_of(item: NDArray[Any], manifest: Manifest) -> NDArray[Any]:
    """An item as cut 0 carries it: a record joined where the model takes several inputs, all else as it is.

    Raises:
        UnsupportedShape: a record of other fields.
    """
    return item if manifest.inputs is None or item.dtype.names is None else joined(item, manifest.inputs)


def noise(spec: TensorSpec, items: int, generator: np.random.Generator) -> NDArray[Any]:
    """Something that a graph can be run on where no real items are at hand, [items, ...]."""
    shape = (items, *spec.shape)
    if spec.dtype == "uint8":
        return generator.integers(0, 256, shape, np.uint8)
    if spec.dtype == "int64":  # may be indices, of which only 0 is known to exist
        return np.zeros(shape, np.int64)
    return generator.standard_normal(shape, np.float32)


def input_noise(manifest: Manifest, items: int, generator: np.random.Generator) -> NDArray[Any]:
    """The same for cut 0, whose bytes mean something where the model takes several inputs."""
    if manifest.inputs is None:
        return noise(manifest.input, items, generator)
    records = np.zeros(items, record_type(manifest.inputs))
    for spec in manifest.inputs:
        records[spec.name] = noise(spec, items, generator)
    return joined(records, manifest.inputs)
