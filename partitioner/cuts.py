"""The cuts of a graph, of one tensor or of several, and how to choose among them.

A cut splits the graph into an input side and an output side. It is a single-tensor cut when exactly one tensor crosses:
then everything in front of that tensor is one of its ancestors and everything behind it one of its descendants, so in
*any* execution order the input side is a prefix. One walk over one execution order, keeping the set of values that are
still needed, therefore finds all of them. The same walk finds cuts of several tensors: those of this one order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import log, prod

import torch

from partitioner.capture import Graph, Node
from partitioner.errors import NoCut, UnknownCut
from partitioner.suppression import OPERATOR

MOST_PACKED = 1 << 20
"""Elements of several tensors that travel as one."""
SELECTION_TENSORS = 2
"""Boxes and scores."""
CARRIED = {torch.uint8: "uint8", torch.float32: "float32", torch.int64: "int64"}
"""Dtypes that a cut can carry, by their name in the manifest."""


@dataclass(frozen=True, slots=True)
class Cut:
    """One place where a model can be cut. Figures are for one item of a batch.

    Where several tensors cross, they travel as one: flattened and put one behind the other, [batch, elements].

    Attributes:
        name: path of the module that ends here, in the model's own names; "module/operator" where none does.
        node: the last of the graph's nodes in front of the cut; its value crosses.
        shape: of what travels, without the batch axis.
        macs_before: multiply-accumulates of everything in front of the cut; `macs_after` of everything behind it.
        live: names of the crossing nodes, in execution order.
        also: other names of the same place.
    """

    name: str
    node: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    bytes: int
    macs_before: int
    macs_after: int
    live: tuple[str, ...]
    also: tuple[str, ...] = ()


Choose = Callable[[Sequence[Cut]], Iterable[Cut]]
"""A policy: from all cuts, in order, to those that are wanted."""


def live_sets(reads: Mapping[str, Sequence[str]], outputs: Iterable[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """After each node of an execution order, the values that later nodes or the caller still need.

    Args:
        reads: per node, in execution order, the nodes whose values it uses.
        outputs: nodes whose values the caller gets.
    """
    remaining = dict.fromkeys(reads, 0)
    for sources in reads.values():
        for source in set(sources):
            remaining[source] += 1
    for output in outputs:
        remaining[output] += 1
    live: set[str] = set()
    for node, sources in reads.items():
        for source in set(sources):
            remaining[source] -= 1
            if not remaining[source]:
                live.discard(source)
        if remaining[node]:
            live.add(node)
        yield node, frozenset(live)


def alone(reads: Mapping[str, Sequence[str]], inputs: Iterable[str], outputs: Iterable[str]) -> list[str]:
    """Nodes whose value is all that crosses from the inputs' side to the outputs' side, in execution order.

    Inputs and outputs themselves are not among them. Every other node must lead to an output.
    """
    ends = {*inputs, *outputs}
    waiting = set(inputs)
    found = []
    for node, live in live_sets(reads, outputs):
        waiting.discard(node)
        if not waiting and live == {node} and node not in ends:
            found.append(node)
    return found


def single_tensor_cuts(graph: Graph) -> tuple[Cut, ...]:
    """All single-tensor cuts behind at least one operator, in execution order.

    Left out are tensors that a bundle cannot carry (dtype; first axis not the batch) and the model's own outputs.
    """
    names = _node_names(graph)
    before = dict(zip(graph.by_name, accumulate(node.macs for node in graph.nodes), strict=True))
    cuts = []
    for name in alone(_reads(graph), graph.inputs, graph.outputs):
        node = graph.by_name[name]
        if node.shape is None or node.dtype not in CARRIED:
            continue
        first, *rest = names[name]
        macs = before[name]
        cuts.append(Cut(first, name, node.shape, node.dtype, node.bytes, macs, graph.macs - macs, (name,), tuple(rest)))
    return tuple(cuts)


def cuts_of(graph: Graph, most_tensors: int = 1) -> tuple[Cut, ...]:
    """All cuts of this execution order through which at most so many tensors cross, in execution order.

    Left out of the cuts of several tensors are those whose tensors a bundle cannot carry or differ in dtype, those of
    more than `MOST_PACKED` elements, and those that a result of the model crosses.
    """
    single = single_tensor_cuts(graph)
    if most_tensors <= 1:
        return single
    by_node = {cut.node: cut for cut in single}
    names = _node_names(graph)
    waiting, before, found = set(graph.inputs), 0, []
    for name, live in live_sets(_reads(graph), graph.outputs):
        waiting.discard(name)
        before += graph.by_name[name].macs
        if name in by_node:
            found.append(by_node[name])
        elif not waiting and name not in graph.inputs and 1 < len(live) <= most_tensors:
            found.extend(_packed(graph, name, live, names[name], before))
    return tuple(found)


def _packed(graph: Graph, name: str, live: frozenset[str], names: tuple[str, ...], before: int) -> Iterator[Cut]:
    """The cut of several tensors behind a node, if a bundle can carry it."""
    nodes = [node for node in graph.nodes if node.name in live]
    elements = sum(prod(node.shape) for node in nodes if node.shape is not None)
    dtype = nodes[0].dtype
    if (
        name in live
        and not live & set(graph.outputs)
        and all(node.shape is not None and node.dtype == dtype for node in nodes)
        and dtype in CARRIED
        and elements <= MOST_PACKED
    ):
        crossing = tuple(node.name for node in nodes)
        bytes_ = sum(node.bytes for node in nodes)
        yield Cut(names[0], name, (elements,), dtype, bytes_, before, graph.macs - before, crossing, names[1:])


def with_selection(graph: Graph, cuts: Sequence[Cut]) -> tuple[Cut, ...]:
    """The cuts, and of a detector also the one in front of its non-maximum suppression.

    There a difference in the last digit may let another box win. A segment of its own keeps that out of the comparison
    of what is computed in front of it; see `partitioner.verify`.
    """
    if not graph.selects:
        return tuple(cuts)
    behind = next(place for place, node in enumerate(graph.nodes) if node.operator == OPERATOR)
    front = [node.name for node in graph.nodes[:behind]]
    every = [cut for cut in cuts_of(graph, SELECTION_TENSORS) if cut.node in front]
    if not every:
        raise NoCut(
            "a bundle cannot carry what the model's non-maximum suppression reads; it must be float32 boxes and scores "
            f"of at most {MOST_PACKED} elements, made in front of it"
        )
    last = every[-1]
    return tuple(cuts) if last.node in {cut.node for cut in cuts} else _ordered(graph, [*cuts, last])


def _ordered(graph: Graph, cuts: Sequence[Cut]) -> tuple[Cut, ...]:
    places = {node.name: place for place, node in enumerate(graph.nodes)}
    return tuple(sorted(cuts, key=lambda cut: places[cut.node]))


def narrow(graph: Graph, cuts: Sequence[Cut], most: int = 12) -> tuple[Cut, ...]:
    """The cuts worth measuring: each carries less than the input and than every cut in front of it.

    Where the device is slower than what lies beyond the link, a cut that is no narrower than one in front of it is
    never the faster. Of more than `most`, some are left out so that the bytes of the others are spread evenly. A model
    without such a cut keeps its narrowest.
    """
    least = sum(graph.by_name[name].bytes for name in graph.inputs)
    found: list[Cut] = []
    for cut in cuts:
        if cut.bytes < least:
            found.append(cut)
        elif found and (cut.shape, cut.macs_before) == (found[-1].shape, found[-1].macs_before):
            found[-1] = cut  # behind the activation that follows a convolution, where engines fuse the two
        else:
            continue
        least = cut.bytes
    if not found:
        return (min(cuts, key=lambda cut: cut.bytes),) if cuts else ()
    if len(found) <= most:
        return tuple(found)
    spread = [log(found[0].bytes / cut.bytes) / log(found[0].bytes / found[-1].bytes) for cut in found]
    wanted = [number / (most - 1) for number in range(most)]
    kept = {min(range(len(found)), key=lambda place: abs(spread[place] - share)) for share in wanted}
    return tuple(found[place] for place in sorted(kept))


def _reads(graph: Graph) -> dict[str, tuple[str, ...]]:
    return {node.name: node.reads for node in graph.nodes}


def _node_names(graph: Graph) -> dict[str, tuple[str, ...]]:
    """Names of each node for a person: the modules that end there, then "module/operator"."""
    counts: dict[str, int] = {}
    names: dict[str, tuple[str, ...]] = {}
    for node in graph.as_written:
        plain = f"{node.module}/{node.operator.removeprefix('aten.')}"
        counts[plain] = counts.get(plain, 0) + 1
        numbered = plain if counts[plain] == 1 else f"{plain}@{counts[plain] - 1}"
        names[node.name] = (*node.ends, numbered)
    return names


def select(graph: Graph, cuts: Sequence[Cut], wanted: Sequence[str] | Choose | None) -> tuple[Cut, ...]:
    """The cuts that are wanted, in execution order, each once.

    Args:
        wanted: names (any name of a cut; the cut then bears it), a policy, or None for all.

    Raises:
        UnknownCut: a name that no cut bears; suggests the nearest.
        NoCut: nothing is left.
    """
    if not cuts:
        raise NoCut(
            "the model has no place where a single tensor crosses (every prefix of it leaves several tensors alive); "
            "return intermediate results only at the end, or partition one of its submodules"
        )
    if wanted is None:
        return tuple(cuts)
    if callable(wanted):
        chosen = {cut.node: cut for cut in wanted(tuple(cuts))}
    else:
        chosen = {cut.node: cut for cut in (_named(graph, cuts, name) for name in wanted)}
    if not chosen:
        raise NoCut(f"no cut was selected out of {len(cuts)}; name at least one or pass cuts=None for all")
    return tuple(chosen[cut.node] for cut in cuts if cut.node in chosen)


def _named(graph: Graph, cuts: Sequence[Cut], name: str) -> Cut:
    for cut in cuts:
        names = (cut.name, *cut.also)
        if name in names:
            return replace(cut, name=name, also=tuple(other for other in names if other != name))
    known = [known for cut in cuts for known in (cut.name, *cut.also)]
    raise UnknownCut(name, known, reason=_why_not(graph, name))


def _why_not(graph: Graph, name: str) -> str:
    ending = [
        (node, live) for node, live in live_sets(_reads(graph), graph.outputs) if name in graph.by_name[node].ends
    ]
    if ending:
        node, live = ending[-1]
        others = ", ".join(sorted(_place(graph.by_name[other]) for other in live if other != node))
        if others:
            return f"{len(live)} tensors cross there, also those of {others} (most_tensors={len(live)} lets them)"
        return "its output cannot be carried (the model's own output, or not a batch-first tensor of a known dtype)"
    if name in graph.module_paths:
        return "the module exists but no tensor of its own ends there"
    return "the model has no module of that name"


def _place(node: Node) -> str:
    return repr(node.ends[0] if node.ends else f"{node.module}/{node.operator.removeprefix('aten.')}")
