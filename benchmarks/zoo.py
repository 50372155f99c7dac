"""Sixty networks and more, cut everywhere: head then tail through ONNX Runtime against the eager model.

    python -m benchmarks.zoo --folder results/zoo --page docs/zoo.md

writes one file per network as it is done, leaves out those that are there already, and writes the page at the end.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
from numpy.typing import NDArray

from benchmarks.figure import Figure
from benchmarks.zoo_models import ENTRIES, Entry, unsettle
from partitioner.capture import Graph, capture
from partitioner.cuts import Cut, cuts_of
from partitioner.errors import PartitionError
from partitioner.export import export_segments
from partitioner.split import run_segments, segments_of
from partitioner.verify import TOLERANCE, relative_difference

MULTI_TENSOR_CUTS = 10
MOST_TENSORS = 4
CONTROLS = 3
FOLDER = Path("results/zoo")


@dataclass(frozen=True, slots=True)
class Row:
    """What was found for one network.

    Attributes:
        difference: largest at any output, head then tail against the eager model, relative to the output's range.
        at_cuts: the same of what crosses the cuts, relative to the range there. Rounding that grows on the way through
            a deep network with random weights may come out larger there than at the end.
        control: smallest difference of the output when a cut's channels are permuted.
        failure: what went wrong, naming the operator; "" where nothing did.
    """

    name: str
    kind: str
    operators: int
    single_cuts: int
    multi_cuts: int
    difference: float
    at_cuts: float
    control: float
    seconds: float
    failure: str = ""

    @property
    def holds(self) -> bool:
        return not self.failure and self.single_cuts > 0 and self.difference <= TOLERANCE < self.control


def check(entry: Entry) -> Row:
    """Capture a network, cut it at every single tensor and ten times at several, and compare."""
    began = time.perf_counter()
    inputs = entry.example()
    model = unsettle(entry.make(), inputs)
    try:
        graph = capture(model, inputs[:1])
        cuts = _cuts(graph)
        sessions = [_session(segment.model) for segment in export_segments(graph, cuts)]
    except PartitionError as exc:
        return Row(entry.name, entry.kind, 0, 0, 0, 0.0, 0.0, 0.0, time.perf_counter() - began, str(exc)[:300])
    with torch.no_grad():
        expected = run_segments(segments_of(graph, cuts), [inputs])
    expected[-1] = graph.eager([inputs])
    values = [[inputs.numpy()]]
    differences = []
    for session, truths in zip(sessions, expected, strict=True):
        values.append(_run(session, values[-1]))
        pairs = zip(values[-1], truths, strict=True)
        differences.append(max(relative_difference(value, truth.numpy()) for value, truth in pairs))
    *inside, difference = differences
    single = sum(len(cut.live) == 1 for cut in cuts)
    control = _control(sessions, cuts, values)
    seconds = time.perf_counter() - began
    return Row(
        entry.name,
        entry.kind,
        len(graph.nodes),
        single,
        len(cuts) - single,
        difference,
        max(inside, default=0.0),
        control,
        round(seconds, 1),
    )


def _cuts(graph: Graph) -> list[Cut]:
    """Every single-tensor cut, and up to ten cuts of several tensors, evenly spread."""
    every = cuts_of(graph, MOST_TENSORS)
    several = [cut for cut in every if len(cut.live) > 1]
    places = np.unique(np.linspace(0, len(several) - 1, MULTI_TENSOR_CUTS).round().astype(int)) if several else []
    chosen = {several[place].node for place in places}
    return [cut for cut in every if len(cut.live) == 1 or cut.node in chosen]


def _control(sessions: Sequence[onnxruntime.InferenceSession], cuts: Sequence[Cut], values: list[Any]) -> float:
    """The output's least change when the channels of a cut's tensor are permuted, at cuts along the depth."""
    wide = [number for number, cut in enumerate(cuts, start=1) if cut.shape and cut.shape[0] > 1]
    least, generator = np.inf, np.random.default_rng(0)
    for number in np.unique(np.linspace(0, len(wide) - 1, CONTROLS).round().astype(int)) if wide else ():
        cut = wide[number]
        axis = _channels(values[cut][0].shape)
        moved = [np.take(values[cut][0], generator.permutation(values[cut][0].shape[axis]), axis)]
        for session in sessions[cut:]:
            moved = _run(session, moved)
        pairs = zip(moved, values[-1], strict=True)
        least = min(least, max(relative_difference(value, truth) for value, truth in pairs))
    return float(least) if np.isfinite(least) else 0.0


def _channels(shape: tuple[int, ...]) -> int:
    """The axis of the channels: the first of [channels, height, width], the last of [tokens, width] and the like."""
    last = len(shape) == 4 and shape[1] == shape[2] != shape[3]
    return -1 if last or len(shape) < 4 else 1


def _session(model: ir.Model) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    content = ir.serde.serialize_model(model).SerializeToString()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _run(session: onnxruntime.InferenceSession, values: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    names = [argument.name for argument in session.get_inputs()]
    outputs: list[NDArray[Any]] = session.run(None, dict(zip(names, values, strict=True)))
    return outputs


def rows_of(folder: Path, *, until_s: float = float("inf")) -> list[Row]:
    """A row per network; those that the folder has are read, the others are checked and written.

    Args:
        until_s: stop checking after so many seconds; the rows so far are returned.
    """
    folder.mkdir(parents=True, exist_ok=True)
    began, rows = time.monotonic(), []
    for entry in ENTRIES:
        file = folder / f"{''.join(c if c.isalnum() else '_' for c in entry.name)}.json"
        if not file.exists():
            if time.monotonic() - began > until_s:
                continue
            row = check(entry)
            print(f"{entry.name}: {row.failure or f'{row.difference:.2g}'} ({row.seconds:.0f} s)", flush=True)
            file.write_text(json.dumps(asdict(row)), encoding="utf-8")
            gc.collect()
        rows.append(Row(**json.loads(file.read_text(encoding="utf-8"))))
    return rows


def figures() -> Sequence[Figure]:
    """How many networks hold, of all; resumes from what `results/zoo` has."""
    rows = rows_of(FOLDER)
    held = [row for row in rows if row.holds]
    return [
        Figure("networks", len(rows), "count", 60, "at least"),
        Figure("networks equal at every cut, control different", len(held) / len(rows), "share", 57 / 60, "at least"),
        Figure("single-tensor cuts checked", sum(row.single_cuts for row in held), "count"),
        Figure("cuts of several tensors checked", sum(row.multi_cuts for row in held), "count"),
        Figure("largest difference of those", max(row.difference for row in held), "of the range", TOLERANCE),
    ]


def page_of(rows: Sequence[Row]) -> str:
    """The table as Markdown."""
    held = sum(row.holds for row in rows)
    lines = [
        "# Zoo\n",
        "Written by `make zoo`. Each network is captured with no edit, its weights set at random, and cut at every",
        f"single tensor and at up to {MULTI_TENSOR_CUTS} places where two to {MOST_TENSORS} cross. Head then tail run",
        "through ONNX Runtime, each segment on what the one in front of it returned, and are compared with the eager",
        f"model. *Difference*: the largest at an output, relative to its range; at most {TOLERANCE:g} holds.",
        "*At cuts*: the same of what crosses; rounding that grows through a deep network with random weights may be",
        "larger there.",
        "*Control*: the least change of the output when the channels of one cut are permuted; it must be larger.\n",
        f"**{held} of {len(rows)} hold**; {len(ENTRIES) - len(rows)} of the {len(ENTRIES)} in the list were not run.\n",
        "| network | kind | operators | single-tensor cuts | of several | difference | at cuts | control | holds |",
        "|---|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    lines += [
        f"| {row.name} | {row.kind} | {row.operators} | {row.single_cuts} | {row.multi_cuts} | {row.difference:.1e} | "
        f"{row.at_cuts:.1e} | {row.control:.1e} | {'yes' if row.holds else 'NO'} |"
        for row in rows
    ]
    failures = [f"- {row.name}: {row.failure or 'differs, or its control does not'}" for row in rows if not row.holds]
    return "\n".join([*lines, *(["\n## What fails\n", *failures] if failures else []), ""])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop checking after so many")
    given = parser.parse_args()
    found = rows_of(given.folder, until_s=given.seconds)
    if given.page is not None:
        given.page.write_text(page_of(found), encoding="utf-8")
