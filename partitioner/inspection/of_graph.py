"""What there is to see in a captured network."""

from __future__ import annotations

from collections.abc import Iterable

from partitioner.capture import Graph
from partitioner.cuts import Cut, live_sets
from partitioner.inspection.values import Operator, Seen, SeenCut


def seen_in_graph(title: str, graph: Graph, cuts: Iterable[Cut], chosen: Iterable[str] = ()) -> Seen:
    """Operators, tensors and cuts of a captured network; `chosen` names cuts."""
    places = {node.name: place for place, node in enumerate(graph.nodes)}
    crossing = live_sets({node.name: node.reads for node in graph.nodes}, graph.outputs)
    sizes = _sizes(graph)
    live = {name: sum(sizes[one] for one in alive) for name, alive in crossing}
    total, wanted = max(graph.macs, 1), set(chosen)
    cuts = tuple(cuts)
    return Seen(
        title=title,
        facts=(
            ("operators", f"{len(graph.nodes):,}"),
            ("multiply-accumulates", f"{graph.macs:,}"),
            ("single-tensor cuts", f"{sum(len(cut.live) == 1 for cut in cuts)}"),
            ("inputs", ", ".join("x".join(map(str, tensor.shape[1:])) for tensor in graph.example)),
        ),
        operators=tuple(
            Operator(
                name=node.ends[0] if node.ends else node.module or node.name,
                kind=node.operator.removeprefix("aten."),
                reads=tuple(places[read] for read in node.reads),
                macs=node.macs,
                bytes=sizes[node.name],
                live_bytes=live[node.name],
            )
            for node in graph.nodes
        ),
        cuts=tuple(
            SeenCut(
                name=cut.name,
                place=places[cut.node],
                bytes=cut.bytes,
                share=cut.macs_before / total,
                shape=f"{str(cut.dtype).removeprefix('torch.')} {'x'.join(map(str, cut.shape))}",
                chosen=bool(wanted & {cut.name, *cut.also}),
            )
            for cut in cuts
        ),
    )


def _sizes(graph: Graph) -> dict[str, int]:
    """Bytes of each node's value; of one that gives several tensors, those that are taken out of it."""
    sizes = {node.name: node.bytes for node in graph.nodes}
    for node in graph.nodes:
        if node.operator == "getitem" and graph.by_name[node.reads[0]].shape is None:
            sizes[node.reads[0]] += node.bytes
    return sizes
