"""`isthmus.partition`: from an ordinary PyTorch model to a bundle in two calls, without editing the model."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Literal, overload

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, fx, nn

from partitioner import cuts as cut_finder
from partitioner.assignment import MOST_TENSORS, best_assignment
from partitioner.bundle_writer import BundleWriter
from partitioner.capture import Example, Graph, capture
from partitioner.cuts import Choose, Cut
from partitioner.errors import PartitionError, TooManyCuts, UnknownCut
from partitioner.export import OPSET
from partitioner.finishing import finish
from partitioner.parts import ExitPart, LearnedPart, write_exit, write_levels
from partitioner.planned import Planned
from partitioner.planning.network import Link
from partitioner.profiling.timing import GRAPH, Effort
from partitioner.question import Machine, Question, plan_bundle
from partitioner.split import segments_of
from runtime import manifest as declared
from runtime.bundle import Bundle

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
        console = Console(file=io.StringIO(), width=120, color_system=None, force_jupyter=False)
        console.print(self)
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue().rstrip()


@overload
def partition(
    model: nn.Module, example_input: Example, *, cuts: Sequence[str] | Choose | None = ..., most_tensors: int = ...
) -> Partition: ...
@overload
def partition(
    model: nn.Module,
    example_input: Example,
    *,
    cuts: Sequence[str] | Choose | None = ...,
    most_tensors: int = ...,
    link: str | Link | Sequence[str | Link],
    device: Machine = ...,
    edge: Machine | bool = ...,
    cloud: Machine = ...,
    goal: str = ...,
    limits: Mapping[str, float] | None = ...,
    any_order: bool = ...,
) -> PartitionPlan: ...
def partition(
    model: nn.Module,
    example_input: Example,
    *,
    cuts: Sequence[str] | Choose | None = None,
    most_tensors: int = 1,
    link: str | Link | Sequence[str | Link] | None = None,
    device: Machine = None,
    edge: Machine | bool = False,
    cloud: Machine = None,
    goal: str = "latency",
    limits: Mapping[str, float] | None = None,
    any_order: bool = False,
) -> Partition | PartitionPlan:
    """Find the places where a model can be cut and choose among them; with a link, also plan for it.

    Args:
        model: in evaluation mode; takes one or several batch-first tensors. It is not changed: parts hold copies.
        example_input: what the model takes, any batch size; a tuple for several inputs. Fixes every other size.
        cuts: names of modules to cut after, e.g. ["features.3"]; or a function from all cuts to those wanted; or None
            for every cut.
        most_tensors: how many tensors may cross at one cut. Several travel as one flat tensor, so bundles, codecs and
            tiers need not know; see docs/decisions/0040-several-tensors-travel-as-one.md.
        link, device, edge, cloud, goal, limits, any_order: as `Partition.plan` takes them.

    Returns:
        Without a link a partition into `len(partition.cuts) + 1` segments; with one, what `Partition.plan` returns.

    Raises:
        PartitionError: the message names the fix; see `partitioner.errors`.
    """
    question = None if link is None else Question(device, edge, cloud, _links(link), goal, limits, any_order=any_order)
    graph = capture(model, example_input)
    every = cut_finder.cuts_of(graph, most_tensors)
    if question is None:
        return Partition(graph, every, cut_finder.select(graph, every, cuts))
    worth = partial(cut_finder.narrow, graph) if cuts is None else cuts
    return Partition(graph, every, cut_finder.select(graph, every, worth)).answer(question)


def _links(link: str | Link | Sequence[str | Link]) -> tuple[str | Link, ...]:
    return (link,) if isinstance(link, str | Link) else tuple(link)


class Partition:
    """A model in segments. Cut 0 is the input, cut k (from 1) is `cuts[k - 1]`, in front of segment k."""

    def __init__(self, graph: Graph, every: tuple[Cut, ...], chosen: tuple[Cut, ...]) -> None:
        self.graph = graph
        self.every_cut = CutTable(every)
        """All cuts of the model, of as many tensors as was asked for."""
        self.cuts = CutTable(cut_finder.with_selection(graph, chosen))
        """Those that this partition makes, in execution order; of a detector also that in front of its selection."""

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

    def plan(
        self,
        link: str | Link | Sequence[str | Link],
        *,
        device: Machine = None,
        edge: Machine | bool = False,
        cloud: Machine = None,
        goal: str = "latency",
        limits: Mapping[str, float] | None = None,
        effort: Effort | None = None,
        any_order: bool = False,
    ) -> PartitionPlan:
        """The best of this partition's cuts. Its segments are exported, checked and timed on this machine first.

        Args:
            link: like "10Mbit 40ms" (one way); two of them, from the device upwards, where there is an edge.
            device, cloud: the profile of a machine or its file (`isthmus profile`); None for this machine.
            edge: the same; True for this machine, False where there is none.
            goal: "latency", "energy", "bytes" or "throughput".
            limits: largest values by figure, e.g. {"latency_s": 0.1, "memory_bytes": 4e6, "joules": 0.5}.
            effort: how long to measure.
            any_order: also look at all assignments of operators to tiers, by minimum cut; where the best one is no cut
                of the model's own execution order, the plan's partition runs in another.

        Raises:
            NoFeasiblePlan: names the limit that rules out the last way to run the model.
            PartitionError: the message names the fix.
        """
        return self.answer(Question(device, edge, cloud, _links(link), goal, limits, effort, any_order))

    def answer(self, question: Question) -> PartitionPlan:
        """`plan`, with its arguments as one value."""
        with tempfile.TemporaryDirectory(prefix="isthmus-plan-") as folder:
            self.save(Path(folder) / "bundle", model_id=type(self.graph.model).__name__)
            with Bundle.open(Path(folder) / "bundle", verify=False) as bundle:
                planned = plan_bundle(bundle, question)
        wider = self._in_any_order(planned, question) if question.any_order else None
        return PartitionPlan(self, planned) if wider is None else wider.answer(replace(question, any_order=False))

    def _in_any_order(self, planned: Planned, question: Question) -> Partition | None:
        """These cuts and those of the best assignment, in an execution order that has both; None for nothing new."""
        found = best_assignment(self.graph, self.cuts.cuts, planned.chain, question.goal, question.limits or {})
        if found is None:
            return None
        graph, new = found
        every = cut_finder.cuts_of(graph, MOST_TENSORS)
        wanted = {frozenset(cut.live) for cut in (*self.cuts, *new)}
        return Partition(graph, every, tuple(cut for cut in every if frozenset(cut.live) in wanted))

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
        postprocessor: str | None = None,
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
            postprocessor: name of one that is installed here and will be wherever the bundle answers: it makes the
                answers of what the model returns (`runtime.postprocessing`).

        Raises:
            ExportMismatch: the exported segments do not compute what the model computes.
            PartitionError: the message names the fix.
        """
        if len(self.cuts) > MAX_CUTS:
            raise TooManyCuts(len(self.cuts), MAX_CUTS)
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

            finisher, outputs = None, parts[-1].outputs
            if postprocessor is not None:
                finisher, outputs = finish(postprocessor, self.graph, outputs)

            def manifest_of(files: dict[str, declared.FileEntry]) -> declared.Manifest:
                return declared.Manifest(
                    schema_version=1,
                    model_id=model_id,
                    counter=counter,
                    task=task,
                    classes=tuple(classes),
                    input=tensors[0],
                    inputs=parts[0].inputs if len(parts[0].inputs) > 1 else None,
                    outputs=outputs,
                    postprocessor=finisher,
                    segments=tuple(
                        declared.Segment(model=part.model, data=part.data, macs=part.macs, parameters=part.parameters)
                        for part in parts
                    ),
                    cuts=tuple(cuts),
                    exits=tuple(declared_exits),
                    measured=measured,
                    profiles=tuple(profiles),
                    provenance={
                        "torch": torch.__version__,
                        "opset": str(OPSET),
                        GRAPH: self.graph.fingerprint,
                        **(provenance or {}),
                    },
                    files=files,
                )

            return writer.commit(manifest_of)


class PartitionPlan(Planned):
    """A model's plan: prints as a table, and saves the bundle that it needs."""

    def __init__(self, parts: Partition, planned: Planned) -> None:
        super().__init__(planned.model_id, planned.chain, planned.goal, planned.limits, planned.sources)
        self.partition = parts

    def save(self, path: Path | str, *, model_id: str | None = None, overwrite: bool = False) -> declared.Manifest:
        """Write a bundle with the cuts of this plan, and those that are the best at other rates of its links: a device
        that measures its link can change between them.

        Args:
            model_id: None takes the name of the model's class.
        """
        wanted = {stretch.choice for link in range(len(self.chain.links)) for stretch in self.stretches(link)}
        places = {hop.place for choice in (self.choice, *wanted) for hop in self.choices.hops(choice)} - {0}
        kept = CutTable(tuple(self.partition.cuts[place - 1] for place in sorted(places)))
        parts = Partition(self.partition.graph, self.partition.every_cut.cuts, kept.cuts)
        return parts.save(path, model_id=model_id or type(parts.graph.model).__name__, overwrite=overwrite)


__all__ = ["CutTable", "ExitPart", "LearnedPart", "Partition", "PartitionError", "PartitionPlan", "partition"]
