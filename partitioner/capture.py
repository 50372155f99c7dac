"""From an ordinary PyTorch model to a graph of named nodes with shapes, bytes and multiply-accumulates.

The user's model is copied first and never touched: no hook, no flag and no parameter of it changes.
"""

from __future__ import annotations

import copy
import hashlib
import linecache
import operator
import os
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from partitioner.errors import ExampleRejected, ModelInTrainingMode, NotExportable, UnsupportedModel
from partitioner.hooks import refuse_side_effects
from partitioner.macs import macs_of
from partitioner.suppression import OPERATOR

Example = Tensor | tuple[Tensor, ...]
REST = (
    "partition the part of the model that ends in front of it (of a detector, the backbone), and do the rest with "
    "operators that ONNX has (partitioner.suppression) or as a post-processor that is installed on the tiers"
)
"""The way round for what a bundle cannot hold; see docs/partitioning.md."""
_WITHOUT_OPERATORS = "Couldn't load custom C++ ops"
"""What torchvision says where it was built for another torch than this one."""


@dataclass(frozen=True, slots=True)
class Node:
    """One operator (or input) whose value depends on the model's input. Figures are for one item of a batch.

    Attributes:
        name: unique in the graph.
        operator: e.g. "aten.conv2d", "input" for an input.
        module: path of the innermost module that ran it, in the model's own names, "" for the model itself.
            A module's second call is "path@1", as torch writes it.
        ends: paths of the modules whose one output this is, outermost first.
        shape: without the batch axis; None where the value is no batch-first tensor of fixed size.
        dtype: None where the value is no tensor.
        bytes: of one item, 0 where `shape` is None.
        macs: multiply-accumulates of convolutions and matrix products.
        reads: names of the nodes whose values it uses.
    """

    name: str
    operator: str
    module: str
    ends: tuple[str, ...]
    shape: tuple[int, ...] | None
    dtype: torch.dtype | None
    bytes: int
    macs: int
    reads: tuple[str, ...]


@dataclass(frozen=True)
class Graph:
    """A captured model. `program` holds copies of its parameters, frozen, under the user's names."""

    program: fx.GraphModule
    nodes: tuple[Node, ...]
    """In execution order; inputs first; nodes that no output needs are left out."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    """Node names, in the order of the model's flattened outputs."""
    output_names: tuple[str, ...]
    example: tuple[Tensor, ...]
    model: nn.Module = field(repr=False)
    """The user's own model: the truth that an export is compared with."""

    @cached_property
    def by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    @cached_property
    def module_paths(self) -> frozenset[str]:
        """All module paths of the model, whether or not they ran."""
        return frozenset(path for path, _ in self.model.named_modules() if path)

    @cached_property
    def as_written(self) -> tuple[Node, ...]:
        """The nodes in the model's own order, which `nodes` may have left for another (`partitioner.assignment`)."""
        return tuple(self.by_name[node.name] for node in self.program.graph.nodes if node.name in self.by_name)

    @cached_property
    def selects(self) -> bool:
        """Whether boxes are selected in it, so that the smallest difference may change which come out."""
        return any(node.operator == OPERATOR for node in self.nodes)

    @property
    def macs(self) -> int:
        return sum(node.macs for node in self.nodes)

    @cached_property
    def fingerprint(self) -> str:
        """Names the network, wherever it is cut and whatever its weights: operators, shapes and who reads whom."""
        nodes = self.as_written
        places = {node.name: place for place, node in enumerate(nodes)}
        told = [(node.operator, node.shape, str(node.dtype), [places[name] for name in node.reads]) for node in nodes]
        return hashlib.sha256(repr(told).encode()).hexdigest()[:32]

    def eager(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The user's model on these inputs: its flattened outputs."""
        with torch.no_grad():
            outputs: list[Tensor] = pytree.tree_leaves(self.model(*inputs))
        return outputs


def capture(model: nn.Module, example: Example) -> Graph:
    """Capture a model in evaluation mode with `torch.export`; every size but the first axis is fixed by the example.

    Args:
        model: any module that takes one or several batch-first tensors and returns tensors.
        example: what the model takes, with any batch size.

    Raises:
        ModelInTrainingMode, UnsupportedModel, ExampleRejected, NotExportable: the message names the fix.
    """
    inputs = _inputs_of(example)
    _refuse_unsupported(model, inputs)
    output_names = _try_model(model, inputs)
    twin = copy.deepcopy(model).requires_grad_(False)
    refuse_side_effects(twin, inputs)
    program = _program_of(twin, inputs)
    return _graph_of(program, model, inputs, output_names)


def _inputs_of(example: Example) -> tuple[Tensor, ...]:
    inputs = example if isinstance(example, tuple) else (example,)
    if not inputs or not all(isinstance(tensor, Tensor) and tensor.dim() >= 1 for tensor in inputs):
        raise UnsupportedModel(
            "the example input must be a batch-first tensor or a tuple of them; "
            "wrap a model that takes lists, dicts or numbers in a module whose forward takes tensors"
        )
    if any(len(tensor) == 0 or len(tensor) != len(inputs[0]) for tensor in inputs):
        sizes = ", ".join(str(tuple(tensor.shape)) for tensor in inputs)
        raise UnsupportedModel(f"the example's tensors must share a first (batch) axis of at least 1; got {sizes}")
    return tuple(tensor.detach().clone() for tensor in inputs)


def _refuse_unsupported(model: nn.Module, inputs: Sequence[Tensor]) -> None:
    for path, module in model.named_modules():
        if module.training:
            raise ModelInTrainingMode(path)
    tensors = [*model.parameters(), *model.buffers(), *inputs]
    devices = sorted({str(tensor.device) for tensor in tensors})
    if len(devices) > 1:
        raise UnsupportedModel(
            f"parameters and example are on several devices ({', '.join(devices)}); "
            "move both to one, as in model.cpu() and example.cpu()"
        )


def _try_model(model: nn.Module, inputs: Sequence[Tensor]) -> tuple[str, ...]:
    """Run the model once, so that its own errors are told as its own; returns names of its outputs."""
    try:
        with torch.no_grad():
            result = model(*inputs)
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as exc:
        if _WITHOUT_OPERATORS in str(exc):
            raise NotExportable(
                "the model calls operators of torchvision's own, such as nms, which are not in this installation, and "
                "which give results of varying length",
                f"single-shot detectors go through partitioner.detectors.SingleShotDetector; of others {REST}",
                operator="torchvision::nms",
                line=_line_of(exc),
            ) from exc
        shapes = ", ".join(f"{tensor.dtype} {tuple(tensor.shape)}" for tensor in inputs)
        raise ExampleRejected(
            f"the model fails on the example input ({shapes}): {_first_line(exc)}{_at(exc)}; "
            "pass an example that model(example) accepts"
        ) from exc
    leaves = pytree.tree_leaves_with_path(result)
    for _, leaf in leaves:
        if not isinstance(leaf, Tensor):
            raise UnsupportedModel(
                f"the model returns a {type(leaf).__name__}, not only tensors; "
                "wrap it in a module whose forward returns the tensors that are needed"
            )
        if leaf.is_floating_point() and not bool(torch.isfinite(leaf).all()):
            raise ExampleRejected(
                "the model's answer to the example holds NaN or infinity; pass an example that it answers with numbers"
            )
    if not leaves:
        raise UnsupportedModel("the model returns no tensor; return the tensors that are needed")
    return _output_names([path for path, _ in leaves])


def _output_names(paths: Sequence[tuple[Any, ...]]) -> tuple[str, ...]:
    if len(paths) == 1 and not paths[0]:
        return ("output",)
    names = ["_".join(_key(entry) for entry in path) for path in paths]
    return tuple(f"output_{name}" if name[:1].isdigit() else name for name in names)


def _key(entry: Any) -> str:
    """A step into a nested result: a dict's key, a tuple's index, a field's name."""
    return str(next(getattr(entry, kind) for kind in ("key", "idx", "name") if hasattr(entry, kind)))


def _program_of(twin: nn.Module, inputs: Sequence[Tensor]) -> fx.GraphModule:
    # A batch of one would be taken for a constant, so the example is doubled.
    doubled = tuple(torch.cat([tensor, tensor]) for tensor in inputs)
    batch = torch.export.Dim("batch", min=1)
    shapes = tuple({0: batch} for _ in doubled)
    try:
        with quiet_torch(), torch.no_grad():
            exported = torch.export.export(twin, doubled, dynamic_shapes=shapes, strict=False)
            exported = exported.run_decompositions({})  # no decomposition: makes in-place operators functional
    except (RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError) as exc:
        raise NotExportable(
            f"torch.export cannot capture the model: {_first_line(exc)}",
            "write that line with tensor operators only, sizes from x.shape instead of constants and no branch on "
            f"values, or {REST}",
            line=_line_of(exc),
        ) from exc
    mutated = {**exported.graph_signature.buffers_to_mutate, **exported.graph_signature.user_inputs_to_mutate}
    if mutated:
        names = ", ".join(repr(name) for name in mutated.values())
        raise UnsupportedModel(
            f"the model writes into {names} while it answers, and a segment keeps no state; "
            "return a new tensor instead of changing this one"
        )
    program = exported.module(check_guards=False)
    assert isinstance(program, fx.GraphModule)
    program.graph.eliminate_dead_code()
    return program


@contextmanager
def quiet_torch() -> Iterator[None]:
    """Silence the warnings that torch's exporters raise about torch itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        message = ".*(training mode|dynamic_axes|opset|onnx|axis name).*"
        warnings.filterwarnings("ignore", message=message, category=UserWarning)
        yield


def _graph_of(
    program: fx.GraphModule, model: nn.Module, inputs: tuple[Tensor, ...], output_names: tuple[str, ...]
) -> Graph:
    placeholders = [node for node in program.graph.nodes if node.op == "placeholder"]
    results = [node for node in pytree.tree_leaves(program.graph.output_node().args) if isinstance(node, fx.Node)]
    data = data_nodes(program, results)
    if len(results) != len(output_names) or any(result not in data for result in results):
        raise UnsupportedModel("an output of the model does not depend on its input; leave it out of what it returns")
    batch = placeholders[0].meta["val"].shape[0]
    ends = _module_ends(data, results)
    nodes = tuple(_node_of(node, data, ends, batch) for node in data)
    return Graph(
        program=program,
        nodes=nodes,
        inputs=tuple(node.name for node in placeholders),
        outputs=tuple(node.name for node in results),
        output_names=output_names,
        example=inputs,
        model=model,
    )


def data_nodes(program: fx.GraphModule, results: Sequence[fx.Node]) -> dict[fx.Node, None]:
    """Nodes that carry the input's data towards a result, in execution order; all inputs are among them.

    Parameters, constants and sizes are not: each segment that needs one computes it anew.
    """
    forward: dict[fx.Node, None] = {}
    for node in program.graph.nodes:
        if node.op == "placeholder" or (
            node.op == "call_function"
            and not isinstance(node.meta.get("val"), int | float | bool | torch.SymInt | torch.SymFloat | torch.SymBool)
            and any(source in forward for source in node.all_input_nodes)
        ):
            forward[node] = None
    needed = set(results)
    for node in reversed(forward):
        if node in needed:
            needed.update(node.all_input_nodes)
    return {node: None for node in forward if node in needed or node.op == "placeholder"}


def _module_stack(node: fx.Node) -> tuple[str, ...]:
    """Paths of the modules around a node, outermost first, without the model itself."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [key.removeprefix("L__self__").removeprefix("L['self']").lstrip(".") for key in stack]
    return tuple(path for path in paths if path and not path.startswith("_empty_nn_module_stack"))


def _module_ends(data: dict[fx.Node, None], results: Sequence[fx.Node]) -> dict[fx.Node, tuple[str, ...]]:
    """For each node the modules that it is the only output of."""
    stacks = {node: _module_stack(node) for node in data}
    escaping: dict[str, set[fx.Node]] = {}
    for node in data:
        users = [stacks[user] for user in node.users if user in data]
        for path in stacks[node]:
            if node in results or any(path not in stack for stack in users):
                escaping.setdefault(path, set()).add(node)
    return {node: tuple(path for path in stacks[node] if escaping.get(path) == {node}) for node in data}


def _node_of(node: fx.Node, data: dict[fx.Node, None], ends: dict[fx.Node, tuple[str, ...]], batch: Any) -> Node:
    value = node.meta.get("val")
    shape = _item_shape(value, batch)
    dtype = value.dtype if isinstance(value, Tensor) else None
    elements = 1
    for size in shape or ():
        elements *= size
    stack = _module_stack(node)
    return Node(
        name=node.name,
        operator=_operator_of(node),
        module=stack[-1] if stack else "",
        ends=ends[node],
        shape=shape,
        dtype=dtype,
        bytes=0 if shape is None or dtype is None else elements * dtype.itemsize,
        macs=macs_of(node, batch),
        reads=tuple(source.name for source in node.all_input_nodes if source in data),
    )


def _operator_of(node: fx.Node) -> str:
    if node.op == "placeholder":
        return "input"
    if node.target is operator.getitem:
        return "getitem"
    return str(node.target).rsplit(".", 1)[0] if "aten." in str(node.target) else str(node.target)


def _item_shape(value: object, batch: Any) -> tuple[int, ...] | None:
    if not isinstance(value, Tensor) or value.dim() == 0 or not _is_batch(value.shape[0], batch):
        return None
    sizes = value.shape[1:]
    if not all(isinstance(size, int) for size in sizes) or 0 in sizes:
        return None
    return tuple(int(size) for size in sizes)


def _is_batch(size: object, batch: Any) -> bool:
    return isinstance(size, torch.SymInt) and bool(size.node.expr == batch.node.expr)


def _first_line(exc: BaseException) -> str:
    text = str(exc).strip().splitlines()
    return text[0].rstrip(".;") if text else type(exc).__name__


def _line_of(exc: BaseException) -> str:
    """ "file:line `source`" of the innermost frame in the user's own code, or in the model's that a library has."""
    torch_folder = str(Path(torch.__file__).parent)
    here = str(Path(__file__).parent)
    frames = [
        frame
        for frame in traceback.extract_tb(exc.__traceback__)
        if not frame.filename.startswith((f"{torch_folder}{os.sep}", f"{here}{os.sep}", "<"))
        and not any(part in frame.filename for part in ("/sympy/", "/torchvision/ops/", "/torchvision/extension.py"))
        and "/contextlib.py" not in frame.filename
    ]
    if not frames:
        return ""
    last = frames[-1]
    source = linecache.getline(last.filename, last.lineno or 0).strip()
    return f"{last.filename}:{last.lineno} `{source}`"


def _at(exc: BaseException) -> str:
    line = _line_of(exc)
    return f" at {line}" if line else ""
