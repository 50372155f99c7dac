"""What a level asks of the device: multiply-accumulates, parameters of its encoder, and milliseconds here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isthmus.evaluation.curves import Curve
from runtime.bundle import Bundle
from runtime.manifest import LearnedLevel, Level

if TYPE_CHECKING:
    from torch import nn

_TIMED = 50


@dataclass(frozen=True, slots=True)
class Effort:
    """One level.

    Attributes:
        device_macs: multiply-accumulates of an item: head and encoder.
        encoder_parameters: of the encoder, or of a whole small model; 0 for a codec without any.
        encode_s: median seconds of encoding an item on this machine with one thread, head not counted.
    """

    device_macs: int
    encoder_parameters: int
    encode_s: float


def effort_of(bundle: Bundle, cut: int, level: Level, encode_s: float) -> Effort:
    """Of a level of a bundle."""
    head = sum(segment.macs for segment in bundle.manifest.segments[:cut])
    if not isinstance(level, LearnedLevel):
        return Effort(head, 0, encode_s)
    graphs = [level.encoder] if level.hyperprior is None else [level.encoder, level.hyperprior.encoder]
    return Effort(head + level.encoder_macs, sum(_parameters(bundle, graph) for graph in graphs), encode_s)


def _parameters(bundle: Bundle, graph: str) -> int:
    """Numbers among a graph's initial values."""
    import onnx

    model = onnx.load(str(bundle.file(graph)), load_external_data=False)
    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    return sum(math.prod(value.dims) for value in model.graph.initializer if value.data_type in kinds)


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What it returns, and its seconds."""
    start = time.perf_counter()
    made = work()
    return made, time.perf_counter() - start


def small_model(model: nn.Module, items: NDArray[Any], truth: NDArray[np.int64]) -> tuple[Curve, Effort]:
    """A model of the user's that is small enough to run on the device: no bytes at all.

    Args:
        model: in evaluation mode; takes what the bundle's takes, and gives logits.
        truth: right classes, int64 [items].
    """
    import torch

    from partitioner.capture import capture

    model = model.eval().requires_grad_(False)
    batch = torch.from_numpy(items)
    with torch.inference_mode():
        answers = torch.cat([model(part).argmax(1) for part in torch.split(batch, _TIMED)]).numpy()
        times = [timed(partial(model, one))[1] for one in torch.split(batch[:_TIMED], 1)]
    right = np.asarray(answers == truth)
    curve = Curve("small model on the device, nothing sent", ("local",), np.zeros((1, len(right))), right[None])
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return curve, Effort(capture(model, batch[:2]).macs, parameters, float(np.median(times)))
