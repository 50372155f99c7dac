"""What cutting costs on the same engine, ONNX Runtime beside eager torch, and heads of fewer bits.

Times are processor seconds of one thread; both sides of a ratio run alternately in one process.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.figure import Figure
from benchmarks.photographs import MobileNet, at_hand, cut_after, labels, photographs
from partitioner.api import partition
from partitioner.capture import Graph, capture
from partitioner.cuts import Cut, cuts_of, narrow
from partitioner.export import export_segments
from partitioner.precision import Samples, narrow_head
from partitioner.torchvision_shim import declare_missing_operators
from runtime.bundle import Bundle
from runtime.engines import LoadedModel, engine_named
from runtime.stage import Stage

NETWORKS = (
    "mobilenet_v2", "resnet18", "squeezenet1_1", "shufflenet_v2_x1_0", "mnasnet0_5", "mobilenet_v3_small",
    "regnet_y_400mf", "efficientnet_b0",
)  # fmt: skip
CUTS = 4
ROUNDS = 15
HEAD_BLOCKS = 14
PHOTOGRAPHS = 600
CALIBRATION = 100

Run = Callable[[], object]


def figures() -> Sequence[Figure]:
    """Cutting on eight networks; MobileNetV2 against eager torch; its int8 head where the photographs are at hand."""
    ratios = [_sum_over_whole(name) for name in NETWORKS]
    rows = [
        Figure.of_runs(
            f"{CUTS} cuts: sum of segments, {len(NETWORKS)} networks", ratios, "ratio", 1.10, "at most", "whole model"
        ),
        _against_eager(),
    ]
    return [*rows, *_int8_head()] if at_hand() else rows


def network(name: str) -> nn.Module:
    declare_missing_operators()
    from torchvision import models

    torch.manual_seed(0)
    made: nn.Module = getattr(models, name)(weights=None)
    return made.eval()


def _sum_over_whole(name: str) -> float:
    graph = capture(network(name), torch.rand(1, 3, 224, 224))
    cuts = narrow(graph, cuts_of(graph), CUTS)
    with tempfile.TemporaryDirectory() as folder:
        whole = _load(graph, (), Path(folder))
        parts = _load(graph, cuts, Path(folder))
        item = graph.example[0].numpy()
        return _ratio(lambda: _in_a_row(parts, item), lambda: _in_a_row(whole, item))


def _load(graph: Graph, cuts: Sequence[Cut], folder: Path) -> list[LoadedModel]:
    engine, loaded = engine_named("onnxruntime", 1), []
    for number, segment in enumerate(export_segments(graph, cuts)):
        ir.save(segment.model, folder / f"{len(cuts)}_{number}.onnx")
        loaded.append(engine.load(folder / f"{len(cuts)}_{number}.onnx"))
    return loaded


def _in_a_row(parts: Sequence[LoadedModel], item: NDArray[Any]) -> list[NDArray[Any]]:
    values = [item]
    for part in parts:
        values = part.run(values)
    return values


def _ratio(one: Run, other: Run) -> float:
    """Median seconds of one over those of the other, taken in turn."""
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(ROUNDS + 2):
        for run, seconds in zip((one, other), taken, strict=True):
            began = time.thread_time()
            run()
            if number >= 2:
                seconds.append(time.thread_time() - began)
    return statistics.median(taken[0]) / statistics.median(taken[1])


def _against_eager() -> Figure:
    model, item = network("mobilenet_v2"), torch.rand(1, 3, 224, 224)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        whole = _load(capture(model, item), (), Path(folder))
        array = item.numpy()
        faster = _ratio(lambda: model(item), lambda: _in_a_row(whole, array))
    torch.set_num_threads(threads)
    return Figure("eager torch, MobileNetV2, one thread", faster, "ratio", 2.0, "at least", "ONNX Runtime", ROUNDS)


def _int8_head() -> Iterator[Figure]:
    items = photographs(PHOTOGRAPHS)
    cut = cut_after(HEAD_BLOCKS)
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "float32", Path(folder) / "int8"
        partition(MobileNet(), torch.from_numpy(items[:1]), cuts=[cut]).save(before, model_id="mobilenet")
        made = narrow_head(before, after, 1, "int8", Samples(items, _labels(), calibration=CALIBRATION))
        with Bundle.open(before) as old, Bundle.open(after) as new:
            stages = [Stage(bundle, engine_named("onnxruntime", 1)) for bundle in (new, old)]
            runs = [lambda stage=stage: stage.run(items[:1], 0, 1) for stage in stages]
            yield Figure("int8 head, MobileNetV2", _ratio(runs[0], runs[1]), "ratio", 0.7, "at most", "float32 head")
    assert made.quality is not None
    assert made.quality_before is not None
    lost = 100 * (made.quality_before - made.quality)
    yield Figure(f"int8 head: points lost on {len(items) - CALIBRATION} photographs", lost, "points", 0.5)
    yield Figure("int8 head: answers as before", made.agreement, "share")


def _labels() -> list[tuple[NDArray[Any]]]:
    return [(np.asarray(class_),) for class_ in labels(PHOTOGRAPHS)]
