"""A captured graph as ONNX segments: one pass of the exporter, however many cuts, then the ONNX graph is sliced.

The whole model is exported once with every cut tensor as an additional output, so that the place of each cut in the
ONNX graph is known. A segment is what its outputs need, walked backwards until the cut in front of it. Constants come
along; batch sizes, which `torch.export` reads from the model's input, are read from the segment's own input instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir
import onnxscript.optimizer
import torch
from onnx_ir.passes.common import InlinePass, LiftConstantsToInitializersPass, RemoveUnusedNodesPass
from torch.onnx import errors as onnx_errors

from partitioner.capture import REST, Graph, quiet_torch
from partitioner.cuts import Cut
from partitioner.errors import NotExportable
from partitioner.packing import pack, unpack
from partitioner.split import part, segments_of
from partitioner.suppression import onnx_forms

OPSET = 20
BATCH = "batch"


@dataclass(frozen=True, slots=True)
class OnnxSegment:
    """One segment as an ONNX model, its weights still in memory."""

    model: ir.Model
    macs: int
    parameters: int


def export_segments(graph: Graph, cuts: Sequence[Cut]) -> list[OnnxSegment]:
    """The ONNX segments between cuts (in execution order), opset `OPSET`, any batch size.

    Inputs are named "x" (x0, x1, ... for a model of several inputs), a segment's one output "y", and those of the last
    segment as the graph's `output_names`.

    Raises:
        NotExportable: an operator has no ONNX form; names it.
    """
    crossing = list(dict.fromkeys(name for cut in cuts for name in cut.live if name not in graph.inputs))
    whole = _export_whole(graph, crossing)
    values = list(whole.graph.outputs)
    results = values[len(crossing) :]
    by_node = dict(zip((*graph.inputs, *crossing), (*whole.graph.inputs, *values[: len(crossing)]), strict=True))
    takes = [list(whole.graph.inputs), *([by_node[name] for name in cut.live] for cut in cuts)]
    gives = [*([by_node[name] for name in cut.live] for cut in cuts), results]
    shapes = [[graph.by_name[name].shape or () for name in cut.live] for cut in cuts]
    names = [*([["y"]] * len(cuts)), list(graph.output_names)]
    macs = [0, *(cut.macs_before for cut in cuts), graph.macs]
    parts = segments_of(graph, cuts)
    return [
        OnnxSegment(
            model=_slice(
                whole,
                takes[number],
                gives[number],
                names[number],
                shapes_in=shapes[number - 1] if number and len(takes[number]) > 1 else (),
                shapes_out=shapes[number] if number < len(cuts) and len(gives[number]) > 1 else (),
            ),
            macs=macs[number + 1] - macs[number],
            parameters=sum(parameter.numel() for parameter in parts[number].parameters()),
        )
        for number in range(len(parts))
    ]


def _export_whole(graph: Graph, crossing: Sequence[str]) -> ir.Model:
    """The model with the values of some nodes as additional outputs, in front of its own."""
    order = [node.name for node in graph.nodes if node.name not in graph.inputs]
    module = part(graph, graph.inputs, order, [*crossing, *graph.outputs])
    example = tuple(torch.cat([tensor, tensor]) for tensor in graph.example)
    batch = torch.export.Dim(BATCH, min=1)
    try:
        with quiet_torch(), torch.no_grad():
            program = torch.onnx.export(
                module,
                example,
                dynamo=True,
                dynamic_shapes=tuple({0: batch} for _ in example),
                opset_version=OPSET,
                custom_translation_table=onnx_forms(),
                optimize=False,
                verbose=False,
            )
    except onnx_errors.OnnxExporterError as exc:
        raise _no_onnx_form(exc) from exc
    assert program is not None
    InlinePass()(program.model)
    return program.model


def _no_onnx_form(exc: BaseException) -> NotExportable:
    cause = exc
    while cause.__cause__ is not None:
        cause = cause.__cause__
    text = str(cause).strip().splitlines() or [type(cause).__name__]
    operator = next((word.strip("'\"`,:;()[]<>") for word in str(cause).split() if "aten." in word or "::" in word), "")
    return NotExportable(
        f"the model has no ONNX form: {text[0].rstrip('.;')}",
        f"replace that operator by ones that ONNX has, or {REST}",
        operator=operator,
    )


def _slice(
    whole: ir.Model,
    takes: Sequence[ir.Value],
    gives: Sequence[ir.Value],
    names: Sequence[str],
    *,
    shapes_in: Sequence[tuple[int, ...]] = (),
    shapes_out: Sequence[tuple[int, ...]] = (),
) -> ir.Model:
    """A model of its own from some values of the whole to others, optimised.

    Args:
        shapes_in: of the values that come in as one tensor, per item; none where they come in by themselves.
        shapes_out: of those that go out as one.
    """
    slicer = _Slicer(takes)
    outputs = [slicer.copy_of(value) for value in gives]
    inputs, nodes, constants = list(slicer.inputs), slicer.nodes, slicer.initializers
    if shapes_out:
        packing = pack(outputs, shapes_out)
        outputs, nodes, constants = packing.values, [*nodes, *packing.nodes], [*constants, *packing.constants]
    if shapes_in:  # last, for a value may pass through unread
        unpacking = unpack(inputs, shapes_in)
        inputs, nodes, constants = unpacking.values, [*unpacking.nodes, *nodes], [*unpacking.constants, *constants]
    for value, name in zip(outputs, names, strict=True):
        value.name = name
    graph = ir.Graph(
        inputs,
        outputs,
        nodes=nodes,
        initializers=constants,
        opset_imports=dict(whole.graph.opset_imports),
        name="segment",
    )
    model = ir.Model(graph, ir_version=whole.ir_version, producer_name="isthmus")
    onnxscript.optimizer.optimize_ir(model)
    LiftConstantsToInitializersPass(lift_all_constants=False)(model)
    RemoveUnusedNodesPass()(model)
    for input_, name in zip(model.graph.inputs, _input_names(len(inputs)), strict=True):
        input_.name = name
    for output, name in zip(model.graph.outputs, names, strict=True):
        output.name = name
    return model


def _input_names(count: int) -> list[str]:
    return ["x"] if count == 1 else [f"x{number}" for number in range(count)]


class _Slicer:
    """Copies what a value needs, stopping at the values that come in."""

    def __init__(self, takes: Sequence[ir.Value]) -> None:
        self.nodes: list[ir.Node] = []
        self.initializers: list[ir.Value] = []
        self.inputs = [
            ir.Value(name=name, shape=value.shape, type=value.type)
            for value, name in zip(takes, _input_names(len(takes)), strict=True)
        ]
        self._copies: dict[ir.Value, ir.Value] = dict(zip(takes, self.inputs, strict=True))
        self._batch = takes[0].shape[0] if takes[0].shape else None

    def copy_of(self, wanted: ir.Value) -> ir.Value:
        """The copy of a value, made with everything that it needs. A stack, for deep graphs exceed Python's own."""
        stack = [wanted]
        while stack:
            value = stack[-1]
            if value in self._copies:
                stack.pop()
                continue
            missing = self._missing(value)
            if missing:
                stack.extend(missing)
                continue
            self._make(value)
            stack.pop()
        return self._copies[wanted]

    def _missing(self, value: ir.Value) -> list[ir.Value]:
        node = value.producer()
        if node is None or self._reads_batch(node):
            return []
        needed = node.inputs[:1] if self._casts_like(node) else node.inputs
        return [source for source in needed if source is not None and source not in self._copies]

    def _make(self, value: ir.Value) -> None:
        node = value.producer()
        if node is None:
            self._make_initializer(value)
        elif self._reads_batch(node):
            self._copy_node(node, [self.inputs[0]])
        elif self._casts_like(node):
            dtype = _dtype_of(node.inputs[1])
            assert dtype is not None
            copy = ir.Node("", "Cast", [self._source(node.inputs[0])], [ir.AttrInt64("to", dtype.value)])
            self._adopt(node, copy)
        else:
            self._copy_node(node, [self._source(source) for source in node.inputs])

    def _source(self, value: ir.Value | None) -> ir.Value | None:
        return None if value is None else self._copies[value]

    def _make_initializer(self, value: ir.Value) -> None:
        if value.const_value is None:
            raise NotExportable(
                f"the ONNX exporter reads {value.name!r} behind a cut that it is in front of",
                "leave that cut out",
            )
        copy = ir.Value(name=value.name, shape=value.shape, type=value.type, const_value=value.const_value)
        self._copies[value] = copy
        self.initializers.append(copy)

    def _copy_node(self, node: ir.Node, inputs: Sequence[ir.Value | None]) -> None:
        graphs = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
        if any(attribute.type in graphs for attribute in node.attributes.values()):
            raise NotExportable(
                "the model branches or loops on values",
                "replace torch.cond and torch.while_loop by tensor operators",
                operator=node.op_type,
            )
        copy = ir.Node(
            node.domain,
            node.op_type,
            inputs,
            list(node.attributes.values()),
            overload=node.overload,
            num_outputs=len(node.outputs),
            version=node.version,
            name=node.name,
        )
        self._adopt(node, copy)

    def _adopt(self, node: ir.Node, copy: ir.Node) -> None:
        for old, new in zip(node.outputs, copy.outputs, strict=True):
            new.name, new.shape, new.type = old.name, old.shape, old.type
            self._copies[old] = new
        self.nodes.append(copy)

    def _reads_batch(self, node: ir.Node) -> bool:
        """Whether the node reads the batch size off a value that is not in this segment yet."""
        source = node.inputs[0] if node.inputs else None
        if node.op_type != "Shape" or source is None or source in self._copies or source.shape is None:
            return False
        start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", len(source.shape))
        return (start, end) == (0, 1) and source.shape[0] == self._batch and not isinstance(self._batch, int)

    def _casts_like(self, node: ir.Node) -> bool:
        """Whether the node reads another value only for its dtype, which is known."""
        return node.op_type == "CastLike" and _dtype_of(node.inputs[1]) is not None


def _dtype_of(value: ir.Value | None) -> ir.DataType | None:
    return None if value is None else value.dtype
