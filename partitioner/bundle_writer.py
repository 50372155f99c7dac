"""Writes a bundle as a whole or not at all: into a folder beside the target, which is renamed at the very end."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors.numpy import save
from torch import nn

from partitioner.capture import REST, Example, Graph, capture
from partitioner.cuts import CARRIED, Cut
from partitioner.errors import BundleExists, InvalidManifest, PartitionError, UnsupportedModel
from partitioner.export import export_segments
from partitioner.verify import verify_segments
from partitioner.weights import WEIGHTS, WeightFile, belongs_in_file
from runtime.manifest import FileEntry, Manifest, TensorSpec

MANIFEST = "manifest.json"
_Kind: TypeAlias = tuple[tuple[int, ...] | None, torch.dtype | None]
"""Shape of one item and dtype, None where a value is no batch-first tensor of fixed size."""


@dataclass(frozen=True, slots=True)
class OnnxPart:
    """One ONNX graph of a bundle in the making: what the manifest needs to say about it.

    Attributes:
        model: file name of the graph.
        data: files of its weights, for the manifest's `data`.
        inputs, outputs: of one item, named as in the graph; several inputs as in the model.
    """

    model: str
    data: tuple[str, ...]
    macs: int
    parameters: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def input(self) -> TensorSpec:
        """What crosses in front of it."""
        return self.inputs[0] if len(self.inputs) == 1 else TensorSpec.of_several(self.inputs)

    @property
    def output(self) -> TensorSpec:
        return self.outputs[0]


class BundleWriter:
    """Collects the files of a bundle; `commit` makes them appear at the target. Left without it, nothing remains.

        with BundleWriter("digits.bundle") as writer:
            exit_part = writer.add_onnx(classifier, example, "exit_2")
            ...
            writer.commit(lambda files: Manifest(..., files=files))

    Args:
        folder: the target. Its parent must exist.
        overwrite: replace what is there, in one step; otherwise `BundleExists` is raised.
    """

    def __init__(self, folder: Path | str, *, overwrite: bool = False) -> None:
        self.target = Path(folder)
        self._overwrite = overwrite
        self._weights = WeightFile()
        self._models: dict[str, ir.Model] = {}
        self._checks: list[Callable[[Path], None]] = []
        if self.target.exists() and not overwrite:
            raise BundleExists(f"{self.target} exists already; choose another path or pass overwrite=True")
        if not self.target.absolute().parent.is_dir():
            raise PartitionError(f"the folder {self.target.absolute().parent} does not exist; create it first")
        self.folder = self.target
        """Where the files are until `commit`; made on entry."""

    def __enter__(self) -> Self:
        parent = self.target.absolute().parent
        self.folder = Path(tempfile.mkdtemp(prefix=f".{self.target.name}-", suffix=".partial", dir=parent))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.folder != self.target:
            shutil.rmtree(self.folder, ignore_errors=True)

    def add_graph(self, graph: Graph, cuts: Sequence[Cut], names: Sequence[str]) -> list[OnnxPart]:
        """Export a captured model in segments, one file per name; checked against the model when committing.

        Raises:
            NotExportable: an operator has no ONNX form.
        """
        files = [f"{name}.onnx" for name in names]
        crossing: list[list[_Kind]] = [[(cut.shape, cut.dtype)] for cut in cuts]
        takes = [[_kind_of(graph, name) for name in graph.inputs], *crossing]
        gives = [*crossing, [_kind_of(graph, name) for name in graph.outputs]]
        parts = []
        for number, segment in enumerate(export_segments(graph, cuts)):
            model = segment.model.graph
            several = graph.inputs if number == 0 and len(graph.inputs) > 1 else None
            inputs = zip(takes[number], several or [value.name for value in model.inputs], strict=True)
            outputs = zip(gives[number], [value.name for value in model.outputs], strict=True)
            parts.append(
                OnnxPart(
                    model=files[number],
                    data=self.add_model(files[number], segment.model),
                    macs=segment.macs,
                    parameters=segment.parameters,
                    inputs=tuple(_spec_of(*taken, name) for taken, name in inputs),
                    outputs=tuple(_spec_of(*given, name) for given, name in outputs),
                )
            )
        self._checks.append(lambda folder: verify_segments(graph, cuts, [folder / file for file in files]))
        return parts

    def add_onnx(self, module: nn.Module, example: Example, name: str) -> OnnxPart:
        """Export a small module (an exit, an encoder, a decoder) as "<name>.onnx", weights in the shared file.

        Args:
            module: in evaluation mode; takes one batch-first tensor, returns one.
        """
        return self.add_graph(capture(module, example), (), [name])[0]

    def add_tensors(self, file: str, tensors: Mapping[str, NDArray[Any]]) -> str:
        """Write arrays as a safetensors file of their own; returns its name."""
        return self.add_file(file, save({key: np.ascontiguousarray(value) for key, value in tensors.items()}))

    def add_file(self, file: str, content: bytes) -> str:
        """Write any other file; returns its name."""
        (self.folder / file).write_bytes(content)
        return file

    def commit(self, manifest_of: Callable[[dict[str, FileEntry]], Manifest]) -> Manifest:
        """Write weights and graphs, check them against their models, write the manifest, move everything in place.

        Args:
            manifest_of: makes the manifest from the files' hashes and sizes.

        Raises:
            ExportMismatch: a graph does not compute what its model computes.
            InvalidManifest: a name, level or figure that a manifest cannot hold.
        """
        self._write_graphs()
        for check in self._checks:
            check(self.folder)
        entries = {path.name: _entry_of(path) for path in sorted(self.folder.iterdir())}
        try:
            manifest = manifest_of(entries)
        except ValidationError as exc:
            first = exc.errors()[0]
            raise InvalidManifest(".".join(map(str, first["loc"])), first["msg"]) from exc
        (self.folder / MANIFEST).write_bytes(manifest.to_bytes())
        self._move()
        return manifest

    def add_model(self, file: str, model: ir.Model) -> tuple[str, ...]:
        """Take over a graph and its weights; returns the files of its weights."""
        prefix = "" if file.startswith("segment_") else f"{file.removesuffix('.onnx')}."
        large = {
            name: value.const_value
            for name, value in model.graph.initializers.items()
            if value.const_value is not None and belongs_in_file(value.const_value)
        }
        for name, tensor in large.items():
            self._weights.add(prefix + name, tensor)
        self._models[file] = model
        return (WEIGHTS,) if large else ()

    def data_of(self, file: str) -> tuple[str, ...]:
        """The files of a graph's weights, before or after they are written."""
        constants = (value.const_value for value in self._models[file].graph.initializers.values())
        return (WEIGHTS,) if any(tensor is not None and belongs_in_file(tensor) for tensor in constants) else ()

    def _write_graphs(self) -> None:
        layout = self._weights.write(self.folder / WEIGHTS) if len(self._weights) else None
        for file, model in self._models.items():
            for name, value in model.graph.initializers.items():
                if layout is not None and value.const_value is not None and belongs_in_file(value.const_value):
                    value.const_value = layout.refer(value.const_value, name)
            ir.save(model, self.folder / file)

    def _move(self) -> None:
        self.folder.chmod(0o755)
        if not self.target.exists():
            self.folder.rename(self.target)
        else:
            self._replace()
        self.folder = self.target

    def _replace(self) -> None:
        aside = Path(tempfile.mkdtemp(prefix=f".{self.target.name}-", suffix=".old", dir=self.folder.parent))
        self.target.rename(aside / "bundle")
        try:
            self.folder.rename(self.target)
        finally:
            if not self.target.exists():
                (aside / "bundle").rename(self.target)
            shutil.rmtree(aside)


def replace_manifest(folder: Path | str, manifest: Manifest) -> None:
    """Put another manifest, e.g. with measured figures, into a bundle. Its digest changes, its files do not."""
    target = Path(folder) / MANIFEST
    beside = target.with_suffix(".partial")
    beside.write_bytes(manifest.to_bytes())
    beside.replace(target)


def _kind_of(graph: Graph, name: str) -> _Kind:
    """Shape and dtype of a node's value."""
    node = graph.by_name[name]
    return node.shape, node.dtype


def _spec_of(shape: tuple[int, ...] | None, kind: torch.dtype | None, name: str | None) -> TensorSpec:
    """The manifest's description of a value for one item."""
    dtype = CARRIED.get(kind) if kind is not None else None
    if dtype is None or shape is None:
        raise UnsupportedModel(
            f"{name!r}, an input or output of the model ({kind}), is no batch-first tensor of fixed size and of "
            f"dtype {', '.join(CARRIED.values())}, which is all that a bundle carries; convert it inside the model, or "
            f"{REST}"
        )
    try:
        return TensorSpec.model_validate({"name": name, "dtype": dtype, "shape": shape})
    except ValidationError as exc:
        raise UnsupportedModel(f"{name!r} cannot be declared in a bundle: {exc.errors()[0]['msg']}") from exc


def _entry_of(path: Path) -> FileEntry:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileEntry(sha256=digest, bytes=path.stat().st_size)
