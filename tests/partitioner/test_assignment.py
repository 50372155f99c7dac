"""Cuts that are none of the model's own execution order: found by minimum cut, made by running in another order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from partitioner.api import Partition, partition
from partitioner.assignment import best_assignment, setting_of
from partitioner.capture import Graph, capture
from partitioner.cuts import cuts_of, single_tensor_cuts
from partitioner.planning.chain import Chain, Level, Place
from partitioner.planning.network import Link, Tier
from partitioner.planning.plan import Planner
from runtime.bundle import Bundle
from runtime.engines import engine_named
from runtime.stage import Stage
from tests.partitioner.settings import everything

PICTURES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class TwoScales(nn.Module):
    """Two branches, each narrow in its middle and heavy behind it; the second runs when the first has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.left_narrow, self.left = nn.Conv2d(3, 2, 8, stride=8), nn.Conv2d(2, 96, 3, padding=1)
        self.right_narrow, self.right = nn.Conv2d(3, 1, 4, stride=8), nn.Conv2d(1, 96, 3, padding=1)
        self.join = nn.Conv2d(192, 64, 3)
        self.last = nn.Linear(256, 5)

    def forward(self, x: Tensor) -> Tensor:
        left = torch.relu(self.left(torch.relu(self.left_narrow(x))))
        right = torch.relu(self.right(torch.relu(self.right_narrow(x))))
        answer: Tensor = self.last(torch.relu(self.join(torch.cat([left, right], 1))).flatten(1))
        return answer


@pytest.fixture(scope="module")
def graph() -> Graph:
    torch.manual_seed(0)
    return capture(TwoScales().eval(), PICTURES[:1])


def chain(graph: Graph, slower: tuple[float, ...] = (50.0, 1.0), links: tuple[Link, ...] = (Link(1e5),)) -> Chain:
    """The whole model as one segment of a millisecond on the last tier."""
    nothing = (0.0,) * len(slower)
    return Chain(
        places=(Place("input", (Level("raw", 12288.0, nothing, nothing),)),),
        seconds=(tuple(1e-3 * factor for factor in slower),),
        memory_bytes=(0.0, 1e6),
        result_bytes=20.0,
        tiers=tuple(Tier(f"tier {number}") for number in range(len(slower))),
        links=links,
    )


@pytest.mark.parametrize(
    ("slower", "links"),
    [((50.0, 1.0), (Link(1e5, 0.01),)), ((80.0, 8.0, 1.0), (Link(3e5, 0.001), Link(1e6, 0.001)))],
)
def test_the_assignment_found_is_the_best_of_all_that_there_are(
    graph: Graph, slower: tuple[float, ...], links: tuple[Link, ...]
) -> None:
    setting = setting_of(graph, (), chain(graph, slower, links))
    every = everything(setting)
    plan = Planner(setting).plan("latency")
    assert len(every.tiers) > 20
    assert plan.value == pytest.approx(every.figures["latency_s"].min())


def test_seconds_of_a_segment_are_those_of_its_operators_together(graph: Graph) -> None:
    setting = setting_of(graph, (), chain(graph))
    assert setting.seconds.sum(axis=0) == pytest.approx([0.05, 0.001])
    convolutions = [one.seconds[0] for one, node in zip(setting.operators, graph.nodes, strict=True) if node.macs]
    assert sum(convolutions) > 0.04


def test_operators_bring_the_weights_that_they_read(graph: Graph) -> None:
    setting = setting_of(graph, (), chain(graph))
    assert setting.weight_bytes.sum() == 4 * sum(one.numel() for one in graph.model.parameters())


def test_both_branches_are_cut_where_they_are_narrow_and_the_order_of_running_follows(graph: Graph) -> None:
    found = best_assignment(graph, (), chain(graph), "latency", {})
    assert found is not None
    ordered, (cut,) = found
    assert len(cut.live) == 2
    assert cut.bytes == 4 * (2 * 16 + 16)
    assert frozenset(cut.live) not in {frozenset(one.live) for one in cuts_of(graph, 16)}
    assert ordered.fingerprint == graph.fingerprint
    assert [one.name for one in single_tensor_cuts(ordered)] == [one.name for one in single_tensor_cuts(graph)]
    seen: set[str] = set()
    for node in ordered.nodes:
        assert seen.issuperset(node.reads)
        seen.add(node.name)


def test_what_is_a_cut_already_is_nothing_new(graph: Graph) -> None:
    fast = chain(graph, links=(Link(1e9),))
    assert best_assignment(graph, (), fast, "latency", {}) is None
    assert best_assignment(graph, (), chain(graph), "latency", {"latency_s": 1e-9}) is None


@pytest.mark.slow
def test_a_bundle_in_another_order_equals_the_model(graph: Graph, tmp_path: Path) -> None:
    found = best_assignment(graph, (), chain(graph), "latency", {})
    assert found is not None
    ordered, new = found
    Partition(ordered, new, new).save(tmp_path / "bundle", model_id="two-scales")
    with Bundle.open(tmp_path / "bundle") as bundle, torch.no_grad():
        stage = Stage(bundle, engine_named("onnxruntime", 1))
        (crossing,) = stage.run(PICTURES.numpy(), 0, 1)
        assert crossing.shape == (3, 48)
        np.testing.assert_allclose(stage.run(crossing, 1)[0], graph.model(PICTURES).numpy(), atol=1e-5)


@pytest.mark.slow
def test_a_plan_in_any_order_measures_the_new_cut_and_takes_it() -> None:
    torch.manual_seed(0)
    plan = partition(
        TwoScales().eval(), PICTURES[:1], link="50kbit 1ms", device=100.0, any_order=True, limits={"memory_bytes": 1e5}
    )
    (name,) = plan.cuts
    cut = next(one for one in plan.partition.cuts if one.name == name)
    assert len(cut.live) == 2
    assert cut.bytes == 192
