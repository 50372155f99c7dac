"""The cut finder against enumeration of all ways to split small graphs; selection by name and policy."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import product

import pytest
import torch

from partitioner.api import CutTable, partition
from partitioner.cuts import Cut, alone, live_sets, select
from partitioner.errors import NoCut, UnknownCut
from tests.partitioner.conftest import MAKERS, Saved
from tests.partitioner.models import PhotoNet, settled

Get = Callable[[str], Saved]
Reads = dict[str, tuple[str, ...]]


def random_graph(rng: random.Random) -> tuple[Reads, list[str], list[str]]:
    """Up to ten nodes, one or two inputs and outputs, in execution order; every node leads to an output."""
    inputs = [f"n{number}" for number in range(rng.randint(1, 2))]
    reads: Reads = dict.fromkeys(inputs, ())
    for number in range(len(inputs), rng.randint(4, 10)):
        recent = list(reads)[-rng.choice([1, 2, 3, 10]) :]
        reads[f"n{number}"] = tuple(rng.sample(recent, rng.randint(1, min(len(recent), 3))))
    outputs = [list(reads)[-1]]
    if rng.random() < 0.3:
        outputs.append(rng.choice(list(reads)[len(inputs) :]))
    needed = set(outputs)
    for name in reversed(reads):
        if name in needed:
            needed |= set(reads[name])
    return {name: reads[name] for name in reads if name in needed or name in inputs}, inputs, outputs


def by_enumeration(reads: Reads, inputs: Sequence[str], outputs: Sequence[str]) -> set[str]:
    """Split the nodes in all ways with inputs on one side and outputs on the other, no edge backwards, one crossing."""
    inner = [name for name in reads if name not in inputs and name not in outputs]
    found = set()
    for sides in product([False, True], repeat=len(inner)):
        head = {*inputs, *(name for name, side in zip(inner, sides, strict=True) if side)}
        if any(source not in head for name in head for source in reads[name]):
            continue
        crossing = {source for name in reads if name not in head for source in reads[name] if source in head}
        if len(crossing) == 1:
            found |= crossing - set(inputs)
    return found


def test_the_finder_agrees_with_enumeration_on_random_graphs() -> None:
    rng = random.Random(7)
    total = 0
    for _ in range(400):
        reads, inputs, outputs = random_graph(rng)
        found = alone(reads, inputs, outputs)
        assert set(found) == by_enumeration(reads, inputs, outputs), (reads, inputs, outputs)
        total += len(found)
    assert total > 200


def test_a_tensor_with_many_consumers_counts_once() -> None:
    reads: Reads = {"x": (), "a": ("x",), "b": ("a",), "c": ("a", "a"), "d": ("a", "b", "c"), "y": ("d",)}
    assert alone(reads, ["x"], ["y"]) == ["a", "d"]
    assert dict(live_sets(reads, ["y"]))["b"] == {"a", "b"}


def test_an_input_that_nothing_reads_is_not_alive() -> None:
    reads: Reads = {"x": (), "unused": (), "a": ("x",), "y": ("a",)}
    assert alone(reads, ["x", "unused"], ["y"]) == ["a"]


def test_cuts_bear_the_users_own_module_names(saved: Get) -> None:
    names = [cut.name for cut in saved("residual").partition.cuts]
    assert names == ["stem.0", "stem.1", "stem", "layer1/add", "layer1", "layer2/add", "layer2", "/mean"]
    also = {cut.name: cut.also for cut in saved("residual").partition.cuts}
    assert "layer1.relu@1" in also["layer1"]


def test_figures_are_those_of_one_item(saved: Get) -> None:
    cut = next(cut for cut in saved("residual").partition.cuts if cut.name == "layer1")
    stem, block, head = 16 * 16 * 16 * 27, 2 * 16 * 16 * 16 * 16 * 9, 160
    assert (cut.shape, cut.dtype, cut.bytes) == ((16, 16, 16), torch.float32, 16384)
    assert (cut.macs_before, cut.macs_after) == (stem + block, block + head)


def test_macs_of_attention_and_matrix_products(saved: Get) -> None:
    patches, projections, feed_forward, scores, head = 16 * 16 * 192, 17 * 16 * 64, 17 * 16 * 64, 2 * 17 * 17 * 16, 112
    assert saved("tokens").partition.graph.macs == patches + projections + feed_forward + scores + head


def test_selection_by_name_keeps_the_name_given_and_the_order_of_execution() -> None:
    parts = partition(settled(PhotoNet()), MAKERS["photo"][1][:1], cuts=["features.3", "features.0.2", "features.1"])
    assert [cut.name for cut in parts.cuts] == ["features.0.2", "features.1", "features.3"]
    assert [parts.index_of(name) for name in ("input", "features.0.2", "features.0", "features")] == [0, 1, 1, 3]
    with pytest.raises(UnknownCut, match="no such cut"):
        parts.index_of("features.2")


def test_selection_by_a_policy_and_its_table(saved: Get) -> None:
    def smallest(cuts: Sequence[Cut]) -> list[Cut]:
        return [min(cuts, key=lambda cut: cut.bytes)]

    parts = saved("residual").partition
    chosen = select(parts.graph, parts.every_cut.cuts, smallest)
    assert [(cut.name, cut.bytes) for cut in chosen] == [("/mean", 64)]
    table = str(CutTable(chosen))
    assert "/mean" in table
    assert "float32 16" in table


def test_an_unknown_name_suggests_the_nearest_and_a_wrong_place_says_why(saved: Get) -> None:
    parts = saved("residual").partition
    graph, every = parts.graph, parts.every_cut.cuts
    with pytest.raises(UnknownCut, match=r"no module of that name; did you mean 'layer2'") as caught:
        select(graph, every, ["layer22"])
    assert caught.value.suggestions[0] == "layer2"
    with pytest.raises(UnknownCut, match=r"2 tensors cross there, also those of 'stem'"):
        select(graph, every, ["layer1.first"])
    with pytest.raises(UnknownCut, match="the model's own output"):
        select(graph, every, ["head"])


def test_an_empty_selection_is_refused(saved: Get) -> None:
    parts = saved("residual").partition
    with pytest.raises(NoCut, match="no cut was selected"):
        select(parts.graph, parts.every_cut.cuts, [])
    with pytest.raises(NoCut, match="no place where a single tensor crosses"):
        select(parts.graph, (), None)
