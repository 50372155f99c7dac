"""Parts of a captured graph as modules of their own: differentiable, and sharing its parameters."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, fx

from partitioner.capture import Graph
from partitioner.cuts import Cut
from partitioner.errors import NotExportable


def segments_of(graph: Graph, cuts: Sequence[Cut]) -> list[fx.GraphModule]:
    """One module per stretch between neighbouring cuts; cuts in execution order.

    The first takes the model's inputs and each later one a single tensor; each but the last returns a single tensor,
    and the last what the model returns, flattened: a tensor, or a tuple of several. Where several tensors cross, they
    are flattened, [batch, elements], and put one behind the other in the order of `Cut.live`.
    """
    order = [node.name for node in graph.nodes if node.name not in graph.inputs]
    bounds = [0, *(order.index(cut.node) + 1 for cut in cuts), len(order)]
    takes = [graph.inputs, *(cut.live for cut in cuts)]
    gives = [*(cut.live for cut in cuts), graph.outputs]
    last = len(cuts)
    return [
        part(
            graph,
            takes[number],
            order[bounds[number] : bounds[number + 1]],
            gives[number],
            unpack=number > 0,
            pack=number < last,
        )
        for number in range(last + 1)
    ]


def part(
    graph: Graph,
    takes: Sequence[str],
    names: Sequence[str],
    gives: Sequence[str],
    *,
    unpack: bool = False,
    pack: bool = False,
) -> fx.GraphModule:
    """A module that takes the values of some nodes, runs others and returns the values of some.

    Args:
        takes: nodes whose values come in.
        names: nodes to run, in execution order.
        gives: nodes whose values go out: a tensor for one, a tuple for several.
        unpack: several values come in as one tensor.
        pack: several values go out as one tensor.
    """
    nodes = {node.name: node for node in graph.program.graph.nodes}
    builder = _Part()
    if unpack and len(takes) > 1:
        builder.unpack([(nodes[name], graph.by_name[name].shape or ()) for name in takes])
    else:
        for number, name in enumerate(takes):
            builder.take(nodes[name], "x" if len(takes) == 1 else f"x{number}")
    for name in names:
        builder.run(nodes[name])
    outputs = tuple(builder.copies[nodes[name]] for name in gives)
    if pack and len(gives) > 1:
        outputs = (builder.pack(outputs, [graph.by_name[name].shape or () for name in gives]),)
    builder.graph.output(outputs[0] if len(outputs) == 1 else outputs)
    module = fx.GraphModule(graph.program, builder.graph)
    return module.eval()


class _Part:
    """A graph in the making. Parameters and sizes come along with the first node that needs them."""

    def __init__(self) -> None:
        self.graph = fx.Graph()
        self.copies: dict[fx.Node, fx.Node] = {}
        self._first: fx.Node | None = None

    def take(self, node: fx.Node, name: str) -> None:
        placeholder = self.graph.placeholder(name)
        placeholder.meta = dict(node.meta)
        self.copies[node] = placeholder
        self._first = self._first or node

    def unpack(self, nodes: Sequence[tuple[fx.Node, tuple[int, ...]]]) -> None:
        packed = self.graph.placeholder("x")
        sizes = [prod(shape) for _, shape in nodes]
        pieces = self.graph.call_function(torch.ops.aten.split_with_sizes.default, (packed, sizes, 1))
        for number, (node, shape) in enumerate(nodes):
            piece = self.graph.call_function(operator.getitem, (pieces, number))
            copy = self.graph.call_function(torch.ops.aten.reshape.default, (piece, [-1, *shape]))
            copy.meta = dict(node.meta)
            self.copies[node] = copy
        self._first = nodes[0][0]

    def pack(self, values: Sequence[fx.Node], shapes: Sequence[tuple[int, ...]]) -> fx.Node:
        flat = [
            self.graph.call_function(torch.ops.aten.reshape.default, (value, [-1, prod(shape)]))
            for value, shape in zip(values, shapes, strict=True)
        ]
        return self.graph.call_function(torch.ops.aten.cat.default, (flat, 1))

    def run(self, node: fx.Node) -> None:
        for source in node.all_input_nodes:
            if source not in self.copies:
                self._bring(source)
        copy = self.graph.node_copy(node, self.copies.__getitem__)
        if copy.target in (torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default):
            # What comes in at a cut may lie in memory in another order than it did in the model.
            copy.target = torch.ops.aten.reshape.default
        self.copies[node] = copy

    def _bring(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            raise NotExportable(
                "the model computes a size from values, and that size is used on both sides of a cut",
                "choose a cut behind the last use of that size",
            )
        if node.op == "call_function" and node.target is torch.ops.aten.sym_size.int:
            self._measure(node)
        else:
            self.run(node)

    def _measure(self, node: fx.Node) -> None:
        """The batch size, read from what comes in here and not from where the model read it."""
        source = node.args[0]
        if source in self.copies:
            self.run(node)
            return
        assert self._first is not None
        batch = self._first.meta["val"].shape[0]
        size = node.meta["val"]
        if not isinstance(size, torch.SymInt) or size.node.expr != batch.node.expr:
            raise NotExportable(
                f"a size that depends on the batch ({size}) is read in front of a cut and used behind it",
                "cut in front of where it is read, or write it from x.shape[0] where it is used",
                operator="aten.sym_size",
            )
        copy = self.graph.call_function(torch.ops.aten.sym_size.int, (self.copies[self._first], 0))
        copy.meta = {"val": size}
        self.copies[node] = copy


def run_segments(segments: Sequence[fx.GraphModule], inputs: Sequence[Tensor]) -> list[list[Tensor]]:
    """What each segment returns when each gets what the one in front of it returned."""
    results: list[list[Tensor]] = []
    values = list(inputs)
    for segment in segments:
        result = segment(*values)
        values = list(result) if isinstance(result, tuple) else [result]
        results.append(values)
    return results
