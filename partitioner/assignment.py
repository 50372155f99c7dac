"""The best of all assignments of a captured model's operators to tiers, as a graph that can be cut there.

An execution order offers its own prefixes as cuts. An assignment by minimum cut (DADS, see `planning.minimum_cut`) may
be none of them: two branches, each left where it is narrow. But no tensor flows back from a tier, so running the
device's operators first, then those of the next tier, is an execution order too; in that one it is a prefix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from partitioner.capture import Graph, Node
from partitioner.cuts import CARRIED, Cut, cuts_of
from partitioner.errors import NoFeasiblePlan
from partitioner.planning.chain import Chain
from partitioner.planning.network import Operator, Setting
from partitioner.planning.plan import Planner

MOST_TENSORS = 16
"""How many may cross together."""
NEVER_BYTES = 1e15
"""Of a tensor that a bundle cannot carry: no plan sends it."""


def best_assignment(
    graph: Graph, cuts: Sequence[Cut], chain: Chain, goal: str, limits: Mapping[str, float]
) -> tuple[Graph, tuple[Cut, ...]] | None:
    """The graph in the order of the best assignment, and the cuts at its boundaries; None where nothing new is there.

    Args:
        cuts: between the segments that the chain's seconds belong to.
        limits: as of `Planner.plan`; those on accuracy are left out, for nothing is lost here.
    """
    setting = setting_of(graph, cuts, chain)
    known = {name: limit for name, limit in limits.items() if name != "accuracy"}
    try:
        plan = Planner(setting).plan(goal, known)
    except NoFeasiblePlan:
        return None
    tiers = dict(zip((node.name for node in graph.nodes), plan.tiers, strict=True))
    ordered = replace(graph, nodes=tuple(sorted(graph.nodes, key=lambda node: tiers[node.name])))
    ends = _ends(ordered, tiers, len(chain.tiers))
    new = tuple(cut for cut in cuts_of(ordered, MOST_TENSORS) if cut.node in ends)
    crossing = {frozenset(cut.live) for cut in cuts}
    return (ordered, new) if any(frozenset(cut.live) not in crossing for cut in new) else None


def setting_of(graph: Graph, cuts: Sequence[Cut], chain: Chain) -> Setting:
    """The graph's operators with their share of what the chain's segments take.

    A segment's seconds are divided among its operators by multiply-accumulates and elements written: a prediction.
    """
    places = {node.name: place for place, node in enumerate(graph.nodes)}
    bounds = [0, *(places[cut.node] + 1 for cut in cuts), len(graph.nodes)]
    seconds: dict[str, tuple[float, ...]] = {}
    for segment, row in enumerate(chain.seconds):
        nodes = [node for node in graph.nodes[bounds[segment] : bounds[segment + 1]] if node.reads]
        whole = max(sum(map(_work, nodes)), 1.0)
        seconds |= {node.name: tuple(_work(node) / whole * taken for taken in row) for node in nodes}
    nothing = (0.0,) * len(chain.tiers)
    weights = _weight_bytes(graph)
    return Setting(
        operators=tuple(
            Operator(
                name=node.name,
                reads=tuple(sorted({places[name] for name in node.reads})),
                seconds=seconds.get(node.name, nothing),
                tensor_bytes=float(node.bytes) if _carried(node) else NEVER_BYTES,
                weight_bytes=float(weights[node.name]),
                result_bytes=float(node.bytes) if node.name in graph.outputs else 0.0,
            )
            for node in graph.nodes
        ),
        tiers=chain.tiers,
        links=chain.links,
    )


def _weight_bytes(graph: Graph) -> dict[str, int]:
    """Of the parameters and buffers that each operator reads itself."""
    state = {**dict(graph.program.named_parameters()), **dict(graph.program.named_buffers())}
    found = {}
    for node in graph.program.graph.nodes:
        read = [state[source.target] for source in node.all_input_nodes if source.target in state]
        found[node.name] = sum(tensor.numel() * tensor.element_size() for tensor in read)
    return found


def _work(node: Node) -> float:
    return float(node.macs + node.bytes / 4)


def _carried(node: Node) -> bool:
    return node.shape is not None and node.dtype in CARRIED


def _ends(graph: Graph, tiers: Mapping[str, int], count: int) -> set[str]:
    """Behind which node each boundary lies, where operators are on both of its sides."""
    ends = set()
    for boundary in range(count - 1):
        front = [node.name for node in graph.nodes if tiers[node.name] <= boundary]
        if len(graph.inputs) < len(front) < len(graph.nodes):
            ends.add(front[-1])
    return ends
