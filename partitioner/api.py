"""`isthmus.partition`: from an ordinary PyTorch model to a bundle in two calls, without editing the model."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, fx, nn

from partitioner import cuts as cut_finder
from partitioner.bundle_writer import BundleWriter
from partitioner.capture import Example, Graph, capture
from partitioner.cuts import Choose, Cut
from partitioner.errors import PartitionError, TooManyCuts, UnknownCut, UnsupportedModel
from partitioner.parts import ExitPart, LearnedPart, write_exit, write_levels
from partitioner.split import segments_of
from runtime import manifest as declared

MAX_CUTS = 254
"""A bundle holds 255 segments."""
INPUT = "input"
"""Name of cut 0."""


@dataclass(frozen=True)
class CutTable:
    """The cuts of a partition; prints as a table."""

    cuts: tuple[Cut, ...]

    def __len__(self) -> int:
        return len(self.cuts)

    def __iter__(self) -> Iterator[Cut]:
        return iter(self.cuts)

    def __getitem__(self, index: int) -> Cut:
        return self.cuts[index]

    def __rich__(self) -> Table:
        table = Table("cut", "after", "tensor", "bytes", "MACs before", "share")
        for column in (0, 3, 4, 5):
            table.columns[column].justify = "right"
        for number, cut in enumerate(self.cuts, start=1):
            total = cut.macs_before + cut.macs_after
            share = f"{cut.macs_before / total:.1%}" if total else "-"
            several = f", {len(cut.live)} tensors" if len(cut.live) > 1 else ""
            kind = f"{str(cut.dtype).removeprefix('torch.')} {'x'.join(map(str, cut.shape)) or 'scalar'}{several}"
            table.add_row(str(number), cut.name, kind, f"{cut.bytes:,}", f"{cut.macs_before:,}", share)
        return table

    def __str__(self) -> str:
        console = Console(file=io.StringIO(), width=120, color_system=None)
        console.print(self)
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue().rstrip()


def partition(
    model: nn.Module,
    example_input: Example,
    *,
    cuts: Sequence[str] | Choose | None = None,
    most_tensors: int = 1,
) -> Partition:
    """Find the places where a model can be cut and choose among them.

    Args:
        model: in evaluation mode; takes one or several batch-first tensors. It is not changed: parts hold copies.
        example_input: what the model takes, any batch size; a tuple for several inputs. Fixes every other size.
        cuts: names of modules to cut after, e.g. ["features.3"]; or a function from all cuts to those wanted; or None
            for every cut.
        most_tensors: how many tensors may cross at one cut. Several travel as one flat tensor, so bundles, codecs and
            tiers need not know; see docs/decisions/0040-several-tensors-travel-as-one.md.

    Returns:
        A partition into `len(partition.cuts) + 1` segments.

    Raises:
        PartitionError: the message names the fix; see `partitioner.errors`.
    """
    graph = capture(model, example_input)
    every = cut_finder.cuts_of(graph, most_tensors)
    return Partition(graph, every, cut_finder.select(graph, every, cuts))


class Partition:
    """A model in segments. Cut 0 is the input, cut k (from 1) is `cuts[k - 1]`, in front of segment k."""

    def __init__(self, graph: Graph, every: tuple[Cut, ...], chosen: tuple[Cut, ...]) -> None:
        self.graph = graph
        self.every_cut = CutTable(every)
        """All cuts of the model, of as many tensors as was asked for."""
        self.cuts = CutTable(chosen)
        """Those that this partition makes, in execution order."""

    def __str__(self) -> str:
        head = f"{self.graph.macs:,} MACs in {len(self.cuts) + 1} segments; {len(self.every_cut)} cuts possible"
        return f"{head}\n{self.cuts}"

    @cached_property
    def segments(self) -> list[fx.GraphModule]:
        """The segments in PyTorch: differentiable, any batch size, on frozen copies of the model's parameters."""
        return segments_of(self.graph, self.cuts.cuts)

    def run(self, *inputs: Tensor, first: int = 0, last: int | None = None) -> Tensor:
        """Segments `first` to `last - 1` (default: all) in PyTorch; gradients flow back to the input.

        Args:
            inputs: the model's inputs for `first` 0, else the tensor of cut `first`.
        """
        result: Tensor | tuple[Tensor, ...] = inputs if len(inputs) > 1 else inputs[0]
        for segment in self.segments[first:last]:
            result = segment(*result) if isinstance(result, tuple) else segment(result)
        return result  # type: ignore[return-value]

    def index_of(self, name: str) -> int:
        """Number of the cut with this name; 0 for "input"."""
        if name == INPUT:
            return 0
        for number, cut in enumerate(self.cuts.cuts, start=1):
            if name in (cut.name, *cut.also):
                return number
        raise UnknownCut(name, [INPUT, *(cut.name for cut in self.cuts.cuts)], reason="this partition has no such cut")

    def save(
        self,
        path: Path | str,
        *,
        model_id: str,
        task: Literal["classification", "tensor"] = "tensor",
        classes: Sequence[str] = (),
        levels: Mapping[str, Sequence[declared.Level | LearnedPart]] | None = None,
        exits: Sequence[ExitPart] = (),
        measured: declared.Measured | None = None,
        profiles: Sequence[declared.Profile] = (),
        provenance: Mapping[str, str] | None = None,
        counter: int = 0,
        overwrite: bool = False,
    ) -> declared.Manifest:
        """Export the segments, check them against the model and write the bundle; all of it or nothing.

        Args:
            path: the bundle's folder.
            model_id: letters, digits, ".", "_" and "-".
            classes: names of the classes, for a classification; its first output is the logits.
            levels: by cut name ("input" for cut 0), smallest first; a `LearnedPart` stands for its levels. A raw
                level is appended where no lossless level ends the list, and is the only one of cuts not named.
            exits: classifiers at cuts.
            measured: the whole model's accuracy.
            provenance: who, from what, when; torch's version and the ONNX opset are added.

        Raises:
            ExportMismatch: the exported segments do not compute what the model computes.
            PartitionError: the message names the fix.
        """
        if len(self.cuts) > MAX_CUTS:
            raise TooManyCuts(len(self.cuts), MAX_CUTS)
        if len(self.graph.inputs) > 1:
            raise UnsupportedModel(
                f"the model takes {len(self.graph.inputs)} inputs and a bundle declares one; "
                "wrap it in a module that takes them as one tensor"
            )
        by_cut = {self.index_of(name): entries for name, entries in (levels or {}).items()}
        with BundleWriter(path, overwrite=overwrite) as writer:
            names = [f"segment_{number}" for number in range(len(self.cuts) + 1)]
            parts = writer.add_graph(self.graph, self.cuts.cuts, names)
            tensors = [part.input for part in parts]
            cuts = [
                declared.Cut(
                    index=number,
                    after=after,
                    tensor=tensor,
                    levels=write_levels(writer, number, tensor, by_cut.get(number, ())),
                )
                for number, (after, tensor) in enumerate(
                    zip([INPUT, *(cut.name for cut in self.cuts.cuts)], tensors, strict=True)
                )
            ]
            declared_exits = [write_exit(writer, self.index_of(exit_.after), exit_, tensors) for exit_ in exits]

            def manifest_of(files: dict[str, declared.FileEntry]) -> declared.Manifest:
                return declared.Manifest(
                    schema_version=1,
                    model_id=model_id,
                    counter=counter,
                    task=task,
                    classes=tuple(classes),
                    input=tensors[0],
                    outputs=parts[-1].outputs,
                    segments=tuple(
                        declared.Segment(model=part.model, data=part.data, macs=part.macs, parameters=part.parameters)
                        for part in parts
                    ),
                    cuts=tuple(cuts),
                    exits=tuple(declared_exits),
                    measured=measured,
                    profiles=tuple(profiles),
                    provenance={"torch": torch.__version__, **(provenance or {})},
                    files=files,
                )

            return writer.commit(manifest_of)


__all__ = ["CutTable", "ExitPart", "LearnedPart", "Partition", "PartitionError", "partition"]
