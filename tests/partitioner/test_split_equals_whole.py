"""Head then tail through ONNX Runtime, at every cut, against the user's model in eager PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from partitioner.errors import ExportMismatch
from partitioner.verify import verify_segments
from tests.partitioner.conftest import MAKERS, Saved, differ

TOLERANCE = 1e-4
Get = Callable[[str], Saved]


def activations(case: Saved, inputs: NDArray[Any]) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
    """Every cut's tensor, and the outputs, from running the segments in a row."""
    crossing = [inputs]
    for session in case.sessions[:-1]:
        crossing += session.run(None, {"x": crossing[-1]})
    return crossing, case.sessions[-1].run(None, {"x": crossing[-1]})


def tail(case: Saved, cut: int, activation: NDArray[Any]) -> list[NDArray[Any]]:
    values = [activation]
    for session in case.sessions[cut:]:
        values = session.run(None, {"x": values[0]})
    return values


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("name", MAKERS)
def test_every_single_tensor_cut_equals_the_whole_model(saved: Get, name: str, batch: int) -> None:
    case = saved(name)
    inputs = case.inputs[:batch]
    crossing, outputs = activations(case, inputs.numpy())
    assert differ(outputs, case.truth(inputs)) <= TOLERANCE
    for cut, activation in zip(case.manifest.cuts, crossing, strict=True):
        assert activation.shape == (batch, *cut.tensor.shape)
        assert activation.dtype == cut.tensor.dtype


@pytest.mark.parametrize("name", MAKERS)
def test_control_a_cut_with_its_channels_moved_does_not_equal_the_whole(saved: Get, name: str) -> None:
    case = saved(name)
    crossing, _ = activations(case, case.inputs.numpy())
    truth = case.truth(case.inputs)
    for cut, activation in list(enumerate(crossing))[1:]:
        assert differ(tail(case, cut, np.roll(activation, 1, axis=1)), truth) > TOLERANCE, case.manifest.cuts[cut].after


@pytest.mark.parametrize("name", MAKERS)
def test_segments_in_pytorch_equal_the_model_and_pass_gradients(saved: Get, name: str) -> None:
    case = saved(name)
    parts = case.partition
    cut = len(parts.cuts) // 2 + 1
    with torch.no_grad():
        activation = parts.run(case.inputs, last=cut)
    activation.requires_grad_(True)
    result = parts.run(activation, first=cut)
    outputs = list(result) if isinstance(result, tuple) else [result]
    assert differ([output.detach().numpy() for output in outputs], case.truth(case.inputs)) <= 1e-6
    outputs[0].sum().backward()
    assert activation.grad is not None
    assert float(activation.grad.abs().sum()) > 0


def test_verification_refuses_segments_that_permute_channels(saved: Get) -> None:
    case = saved("residual")
    files = [case.folder / segment.model for segment in case.manifest.segments]
    cuts = case.partition.cuts.cuts
    verify_segments(case.partition.graph, cuts, files)
    altered = case.folder.parent / "altered"
    altered.mkdir()
    (altered / "weights.safetensors").symlink_to(case.folder / "weights.safetensors")
    victim = next(number for number, cut in enumerate(cuts) if cut.name == "layer1")
    model = onnx.load(files[victim], load_external_data=False)
    _permute_output(model, channels=16)
    changed = [*files]
    changed[victim] = case.folder / "altered.onnx"
    onnx.save(model, changed[victim])
    try:
        with pytest.raises(ExportMismatch) as caught:
            verify_segments(case.partition.graph, cuts, changed)
    finally:
        changed[victim].unlink()
    assert caught.value.where == "layer1"


def _permute_output(model: onnx.ModelProto, *, channels: int) -> None:
    graph = model.graph
    for node in graph.node:
        for index, output in enumerate(node.output):
            if output == "y":
                node.output[index] = "straight"
    order = np.roll(np.arange(channels), 1)
    graph.initializer.append(numpy_helper.from_array(order, "order"))
    graph.node.append(helper.make_node("Gather", ["straight", "order"], ["y"], axis=1))
