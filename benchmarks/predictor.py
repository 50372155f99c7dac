"""How well ten measured segments rank all others on an engine and number of threads that was never seen.

    python -m benchmarks.predictor FOLDER FILE

measures the segments of six networks in every setting and writes the table that the tests use; resumes.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import nn

from benchmarks.figure import Figure
from partitioner.api import Partition, partition
from partitioner.cuts import Cut
from partitioner.profiling.machine import SegmentFigures, Timing
from partitioner.profiling.predictor import adapt, learn, representative
from partitioner.torchvision_shim import declare_missing_operators

NETWORKS = (
    "mobilenet_v2", "resnet18", "squeezenet1_1", "shufflenet_v2_x0_5", "mnasnet0_5", "mobilenet_v3_small",
)  # fmt: skip
SEGMENTS = 8
SIDE = 128
ROUNDS = 25
MEASURED = 10
Run = Callable[[], object]
Table = dict[str, list[SegmentFigures]]
"""Per setting the figures of all segments, in one order."""


def figures() -> Sequence[Figure]:
    """Spearman's rank correlation of each setting, with a prior learned from the others."""
    table = measured_table()
    ranks = rank_correlations(table)
    count = len(next(iter(table.values()))) - MEASURED
    return [
        Figure(f"Spearman, {name}, {count} unseen segments", value, "rho", 0.95, "at least", "ten measured")
        for name, value in ranks.items()
    ]


def rank_correlations(table: Table) -> dict[str, float]:
    """Per setting: predicted against measured seconds of the segments that were not among its ten."""
    found = {}
    for name, segments in table.items():
        others = [rows for other, rows in table.items() if other != name]
        chosen = representative(segments, MEASURED)
        predictor = adapt([segments[place] for place in chosen], learn(others))
        rest = [segment for place, segment in enumerate(segments) if place not in chosen]
        found[name] = float(spearmanr(predictor.seconds(rest), [one.time.median_s for one in rest]).statistic)
    return found


def measured_table() -> Table:
    """Every segment in every setting; the first setting is the reference."""
    table: Table = {}
    for name in NETWORKS:
        for setting, rows in _measured(name).items():
            table.setdefault(setting, []).extend(rows)
    return table


def _measured(name: str) -> Table:
    declare_missing_operators()
    from torchvision import models

    torch.manual_seed(0)
    model: nn.Module = getattr(models, name)(weights=None).eval()
    parts = partition(model, torch.rand(1, 3, SIDE, SIDE), cuts=_evenly)
    with tempfile.TemporaryDirectory() as folder:
        manifest = parts.save(Path(folder) / "bundle", model_id=name)
        runs: dict[str, list[Run]] = {}
        for setting, made in _settings(parts, [Path(folder) / "bundle" / one.model for one in manifest.segments]):
            runs[setting] = list(made)
        seconds = {setting: _seconds(works, setting) for setting, works in runs.items()}
    reference = next(iter(seconds.values()))
    before = np.cumsum([0, *(segment.macs for segment in manifest.segments)])
    return {
        setting: [
            SegmentFigures(
                after=f"{name}: {cut.after}",
                macs_before=int(before[number]),
                macs=segment.macs,
                weight_bytes=4 * segment.parameters,
                input_bytes=cut.tensor.nbytes,
                output_bytes=4 * int(np.prod(parts.cuts[number].shape)) if number < len(parts.cuts) else 4000,
                time=Timing(median_s=taken[number], runs=ROUNDS),
                reference_s=reference[number],
            )
            for number, (segment, cut) in enumerate(zip(manifest.segments, manifest.cuts, strict=True))
        ]
        for setting, taken in seconds.items()
    }


def _evenly(cuts: Sequence[Cut]) -> list[Cut]:
    places = np.unique(np.linspace(0, len(cuts) - 1, SEGMENTS + 1)[1:-1].round().astype(int))
    return [cuts[place] for place in places]


def _settings(parts: Partition, files: Sequence[Path]) -> Iterator[tuple[str, Iterator[Run]]]:
    """Each engine and number of threads, as one call per segment."""
    (carried,) = parts.graph.example
    tensors = [carried]
    with torch.no_grad():
        for segment in parts.segments[:-1]:
            tensors.append(segment(tensors[-1]))
    arrays = [tensor.numpy() for tensor in tensors]
    for threads in (1, 2):
        yield f"onnxruntime, {threads} threads", _onnx(files, arrays, threads, optimised=True)
    yield "onnxruntime without fusions, 1 threads", _onnx(files, arrays, 1, optimised=False)
    for threads in (1, 2):
        yield f"torch eager, {threads} threads", _eager(parts, tensors)
    if find_spec("openvino") is not None:
        for threads in (1, 2):
            yield f"openvino, {threads} threads", _openvino(files, arrays, threads)


def _onnx(files: Sequence[Path], arrays: Sequence[NDArray[Any]], threads: int, *, optimised: bool) -> Iterator[Run]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
    for file, array in zip(files, arrays, strict=True):
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        yield lambda session=session, array=array: session.run(None, {"x": array})


def _eager(parts: Partition, tensors: Sequence[torch.Tensor]) -> Iterator[Run]:
    for segment, tensor in zip(parts.segments, tensors, strict=True):
        yield lambda segment=segment, tensor=tensor: segment(tensor)


def _openvino(files: Sequence[Path], arrays: Sequence[NDArray[Any]], threads: int) -> Iterator[Run]:
    import openvino

    core = openvino.Core()
    hints = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    for file, array in zip(files, arrays, strict=True):
        request = core.compile_model(str(file), "CPU", hints).create_infer_request()
        yield lambda request=request, array=array: request.infer({"x": array})


@torch.inference_mode()
def _seconds(works: Sequence[Run], setting: str) -> list[float]:
    """Of several rounds the fastest: what else runs on the machine is no part of the setting."""
    threads = torch.get_num_threads()
    if "torch" in setting:
        torch.set_num_threads(int(setting.split()[-2]))
    fastest = [float("inf") for _ in works]
    for _ in range(ROUNDS):
        for place, work in enumerate(works):
            began = time.perf_counter()
            work()
            fastest[place] = min(fastest[place], time.perf_counter() - began)
    torch.set_num_threads(threads)
    return fastest


def write_table(folder: Path, target: Path) -> None:
    """Measure networks one by one, leaving out those that the folder has, and write the table."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[object]] = {}
    for name in NETWORKS:
        file = folder / f"{name}.json"
        if not file.exists():
            file.write_text(json.dumps({k: [one.model_dump() for one in v] for k, v in _measured(name).items()}))
        for setting, found in json.loads(file.read_text()).items():
            rows.setdefault(setting, []).extend(found)
    target.write_text(json.dumps(rows, indent=0))


if __name__ == "__main__":
    write_table(Path(sys.argv[1]), Path(sys.argv[2]))
