"""Head then tail through ONNX Runtime against the eager model, at every cut, before a bundle is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

from partitioner.capture import Graph
from partitioner.cuts import Cut
from partitioner.errors import ExportMismatch
from partitioner.split import run_segments, segments_of

TOLERANCE = 1e-4
"""Largest absolute difference, relative to the range of the model's own values."""


def verify_segments(graph: Graph, cuts: Sequence[Cut], files: Sequence[Path], *, tolerance: float = TOLERANCE) -> None:
    """Run the segment files one after another, on the example and on random inputs, and compare.

    Each activation that crosses a cut is compared with the eager value there, and the end with the user's own model. As
    each segment is fed with what the one in front of it returned, the end also compares every head and tail.

    A detector's last segment selects boxes, and the last digit of a score may decide which: there the segments in
    PyTorch are compared with the user's model, and the segment file with that segment in PyTorch, on the same boxes and
    scores.

    Raises:
        ExportMismatch: names the first place that differs.
    """
    segments = [_session(file) for file in files]
    parts = segments_of(graph, cuts)
    for inputs in (graph.example, random_like(graph.example, batch=3)):
        with torch.no_grad():
            expected = run_segments(parts, inputs)
        whole = graph.eager(inputs)
        if graph.selects:
            _compare([tensor.numpy(force=True) for tensor in expected[-1]], whole, "output", tolerance)
        expected[-1] = whole
        values: list[NDArray[Any]] = [tensor.numpy(force=True) for tensor in inputs]
        for number, (session, truth) in enumerate(zip(segments, expected, strict=True)):
            last = number == len(cuts)
            if last and graph.selects:
                with torch.no_grad():
                    (truth,) = run_segments(parts[-1:], [torch.from_numpy(value) for value in values])
            names = [argument.name for argument in session.get_inputs()]
            values = session.run(None, dict(zip(names, values, strict=True)))
            _compare(values, truth, "output" if last else cuts[number].name, tolerance)


def _compare(values: Sequence[NDArray[Any]], truths: Sequence[Tensor], place: str, tolerance: float) -> None:
    for value, truth in zip(values, truths, strict=True):
        difference = relative_difference(value, truth.numpy(force=True))
        if not difference <= tolerance:  # NaN differs
            raise ExportMismatch(place, difference, tolerance)


def relative_difference(value: NDArray[Any], truth: NDArray[Any]) -> float:
    """Largest absolute difference divided by the range of `truth`; infinite for another shape or dtype."""
    if value.shape != truth.shape or value.dtype != truth.dtype:
        return float("inf")
    truth64 = truth.astype(np.float64)
    largest = float(np.max(np.abs(value.astype(np.float64) - truth64), initial=0.0))
    spread = float(np.max(truth64, initial=-np.inf) - np.min(truth64, initial=np.inf)) if truth.size else 0.0
    scale = max(spread, float(np.max(np.abs(truth64), initial=0.0)) * 1e-3, 1e-12)
    return largest / scale


def random_like(example: Sequence[Tensor], *, batch: int, seed: int = 0) -> tuple[Tensor, ...]:
    """Inputs of the example's kind: floats with its mean and spread, integers within its range."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(_random(tensor, batch, generator) for tensor in example)


def _random(tensor: Tensor, batch: int, generator: torch.Generator) -> Tensor:
    shape = (batch, *tensor.shape[1:])
    if tensor.is_floating_point():
        spread = float(tensor.std()) if tensor.numel() > 1 else 1.0
        noise = torch.randn(shape, generator=generator, dtype=tensor.dtype)
        return (noise * (spread or 1.0) + tensor.mean()).to(tensor.device)
    if tensor.dtype is torch.bool:
        return torch.randint(0, 2, shape, generator=generator).to(tensor)
    low, high = int(tensor.min()), int(tensor.max())
    return torch.randint(low, high + 1, shape, generator=generator).to(tensor)


def _session(file: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
