"""One safetensors file for the weights of all graphs of a bundle, each stored once.

ONNX graphs refer to their large tensors as external data: file, offset, length. The data area of a safetensors file is
just that - raw little-endian tensors at known offsets - so one `weights.safetensors` is both: any safetensors reader
sees the parameters by name, and an ONNX engine maps what a segment refers to.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

WEIGHTS = "weights.safetensors"
INLINE_BYTES = 1024
"""Tensors below this size stay inside their graph: shapes, axes, small constants and biases."""
_ALIGNMENT = 64

_DTYPES = {
    ir.DataType.DOUBLE: "F64",
    ir.DataType.FLOAT: "F32",
    ir.DataType.FLOAT16: "F16",
    ir.DataType.BFLOAT16: "BF16",
    ir.DataType.INT64: "I64",
    ir.DataType.INT32: "I32",
    ir.DataType.INT16: "I16",
    ir.DataType.INT8: "I8",
    ir.DataType.UINT8: "U8",
    ir.DataType.BOOL: "BOOL",
}


@dataclass(frozen=True, slots=True)
class _Stored:
    name: str
    tensor: ir.TensorProtocol


class WeightFile:
    """Collects tensors, equal ones once, and lays them out: largest elements first, else in order of arrival.

    The order keeps a segment's tensors together and every tensor on a multiple of its element size; the format allows
    no gaps between tensors.
    """

    def __init__(self) -> None:
        self._by_content: dict[bytes, _Stored] = {}
        self._names: set[str] = set()

    def __len__(self) -> int:
        return len(self._by_content)

    def add(self, name: str, tensor: ir.TensorProtocol) -> None:
        """Store a tensor under a name, or under "name#2" where another one has it already."""
        key = _content_of(tensor)
        if key in self._by_content:
            return
        unique, number = name, 1
        while unique in self._names:
            number += 1
            unique = f"{name}#{number}"
        self._names.add(unique)
        self._by_content[key] = _Stored(unique, tensor)

    def write(self, path: Path) -> Layout:
        """Write the file; the layout tells where each tensor lies."""
        stored = sorted(self._by_content.items(), key=lambda item: -item[1].tensor.dtype.itemsize)
        header: dict[str, object] = {}
        offsets: dict[bytes, int] = {}
        end = 0
        for key, entry in stored:
            begin, end = end, end + entry.tensor.nbytes
            offsets[key] = begin
            header[entry.name] = {
                "dtype": _DTYPES[entry.tensor.dtype],
                "shape": [int(size) for size in entry.tensor.shape.numpy()],
                "data_offsets": [begin, end],
            }
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-(8 + len(text)) % _ALIGNMENT)
        with path.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for _, entry in stored:
                file.write(entry.tensor.tobytes())
        return Layout(path, {key: 8 + len(text) + offset for key, offset in offsets.items()})


@dataclass(frozen=True)
class Layout:
    """Where each tensor of a written file lies."""

    path: Path
    offsets: dict[bytes, int]

    def refer(self, tensor: ir.TensorProtocol, name: str) -> ir.ExternalTensor:
        """An ONNX reference to a stored tensor, relative to the file's folder."""
        return ir.ExternalTensor(
            self.path.name,
            self.offsets[_content_of(tensor)],
            tensor.nbytes,
            tensor.dtype,
            shape=ir.Shape(tensor.shape.numpy()),
            name=name,
            base_dir=self.path.parent,
        )


def belongs_in_file(tensor: ir.TensorProtocol) -> bool:
    """Whether a graph's tensor is stored in the weight file rather than in the graph."""
    return tensor.nbytes >= INLINE_BYTES and tensor.dtype in _DTYPES


def _content_of(tensor: ir.TensorProtocol) -> bytes:
    return hashlib.sha256(tensor.dtype.name.encode() + b":" + tensor.tobytes()).digest()
