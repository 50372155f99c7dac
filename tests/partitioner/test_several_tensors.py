"""Cuts through which several tensors cross: found, exported, run and saved like those of one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from partitioner.api import partition
from partitioner.capture import capture
from partitioner.cuts import MOST_PACKED, cuts_of, live_sets, single_tensor_cuts
from partitioner.errors import UnknownCut
from runtime.bundle import Bundle
from runtime.engines import engine_named
from runtime.stage import Stage
from tests.partitioner import models
from tests.partitioner.conftest import IMAGES, MAKERS, differ


def test_one_tensor_at_most_gives_the_single_tensor_cuts() -> None:
    graph = capture(models.settled(models.ResidualNet()), IMAGES[:1])
    assert cuts_of(graph, 1) == single_tensor_cuts(graph)


@pytest.mark.parametrize("most", [2, 3])
def test_cuts_of_several_are_the_places_where_so_many_values_are_still_needed(most: int) -> None:
    graph = capture(models.settled(models.Branches()), IMAGES[:1])
    reads = {node.name: node.reads for node in graph.nodes}
    live = {node: values for node, values in live_sets(reads, graph.outputs) if node not in graph.inputs}
    found = {cut.node: frozenset(cut.live) for cut in cuts_of(graph, most)}
    assert found == {
        node: values
        for node, values in live.items()
        if 1 <= len(values) <= most and node in values and not values & set(graph.outputs)
    }
    several = [cut for cut in cuts_of(graph, most) if len(cut.live) > 1]
    assert several
    for cut in several:
        assert cut.shape == (sum(graph.by_name[name].bytes for name in cut.live) // 4,)
        assert cut.shape[0] <= MOST_PACKED


def test_a_tensor_that_came_in_beside_another_is_folded_though_it_lies_otherwise_in_memory() -> None:
    """What comes in at a cut of several is a stretch of each row, which torch cannot view in another shape."""

    class Folds(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:  # [batch, 4, 6]
            skipped = x.relu()
            folded = x.exp().transpose(1, 2).reshape(-1, 4)  # a copy, and a view of it
            return skipped.sum((1, 2)) + folded.sum(1).reshape(-1, 6).sum(1)

    model, inputs = Folds().eval(), torch.randn(3, 4, 6)
    parts = partition(model, inputs, most_tensors=2)
    assert any("_unsafe_view" in segment.code or "reshape" in segment.code for segment in parts.segments)
    assert any(len(cut.live) == 2 for cut in parts.cuts)
    assert torch.allclose(parts.run(inputs), model(inputs), atol=1e-5)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "name", ["residual", "branches", pytest.param("photo", marks=SLOW), pytest.param("tokens", marks=SLOW)]
)
def test_head_and_tail_at_cuts_of_several_tensors_equal_the_whole_model(name: str, tmp_path: Path) -> None:
    make, inputs = MAKERS[name]
    torch.manual_seed(0)
    model = models.settled(make())
    parts = partition(model, inputs[:1], most_tensors=3, cuts=lambda cuts: [cut for cut in cuts if len(cut.live) > 1])
    parts.save(tmp_path / "bundle", model_id=name)
    with torch.no_grad():
        result = model(inputs)
    truth = [value.numpy() for value in (result.values() if isinstance(result, dict) else [result])]
    with Bundle.open(tmp_path / "bundle") as bundle:
        stage = Stage(bundle, engine_named("onnxruntime", 1))
        for cut in range(1, len(bundle.manifest.cuts)):
            activation = stage.run(inputs.numpy(), 0, cut)[0]
            assert activation.shape == (len(inputs), *parts.cuts[cut - 1].shape)
            assert differ(stage.run(activation, cut), truth) <= 1e-4
            permuted = np.random.default_rng(0).permutation(activation.shape[1])
            assert differ(stage.run(activation[:, permuted], cut), truth) > 1e-4


def test_gradients_reach_the_packed_tensor() -> None:
    parts = partition(models.settled(models.ResidualNet()), IMAGES[:1], cuts=["layer1.first"], most_tensors=2)
    assert len(parts.cuts[0].live) == 2
    activation = parts.run(IMAGES, last=1).detach().requires_grad_(True)
    parts.run(activation, first=1).sum().backward()
    assert activation.grad is not None
    assert bool((activation.grad != 0).any())
    assert "2 tensors" in str(parts)


def test_a_place_that_needs_more_tensors_says_how_many() -> None:
    with pytest.raises(UnknownCut, match="most_tensors=2 lets them"):
        partition(models.settled(models.ResidualNet()), IMAGES[:1], cuts=["layer1.first"])
