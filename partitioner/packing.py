"""Several tensors as one, in ONNX: flattened per item and put one behind the other, and taken apart again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir


@dataclass(frozen=True)
class Packing:
    """Nodes to put in front of a graph or behind it, the constants they read, and the values at their far end."""

    values: list[ir.Value]
    nodes: list[ir.Node]
    constants: list[ir.Value]


def pack(values: Sequence[ir.Value], shapes: Sequence[tuple[int, ...]]) -> Packing:
    """One value [batch, elements] from several [batch, *shape]."""
    nodes, constants, flat = [], [], []
    for number, (value, shape) in enumerate(zip(values, shapes, strict=True)):
        length = _constant(f"packed_{number}_length", [-1, prod(shape)])
        node = ir.Node("", "Reshape", [value, length], name=f"pack_{number}")
        node.outputs[0].name = f"packed_{number}"
        nodes.append(node)
        constants.append(length)
        flat.append(node.outputs[0])
    joined = ir.Node("", "Concat", flat, [ir.AttrInt64("axis", 1)], name="pack")
    packed = joined.outputs[0]
    packed.type = values[0].type
    packed.shape = _shape(values[0], sum(map(prod, shapes)))
    return Packing([packed], [*nodes, joined], constants)


def unpack(values: Sequence[ir.Value], shapes: Sequence[tuple[int, ...]]) -> Packing:
    """Make several values [batch, *shape], graph inputs so far, from one new input [batch, elements].

    The values themselves are replaced where they are used.
    """
    packed = ir.Value(name="x", type=values[0].type, shape=_shape(values[0], sum(map(prod, shapes))))
    sizes = _constant("unpacked_sizes", [prod(shape) for shape in shapes])
    split = ir.Node("", "Split", [packed, sizes], [ir.AttrInt64("axis", 1)], num_outputs=len(shapes), name="unpack")
    nodes, constants = [split], [sizes]
    for number, (value, shape) in enumerate(zip(values, shapes, strict=True)):
        split.outputs[number].name = f"unpacked_{number}_flat"
        target = _constant(f"unpacked_{number}_shape", [-1, *shape])
        node = ir.Node("", "Reshape", [split.outputs[number], target], name=f"unpack_{number}")
        result = node.outputs[0]
        result.name, result.shape, result.type = f"unpacked_{number}", value.shape, value.type
        value.replace_all_uses_with(result)
        nodes.append(node)
        constants.append(target)
    return Packing([packed], nodes, constants)


def _shape(like: ir.Value, elements: int) -> ir.Shape:
    batch = like.shape[0] if like.shape else None
    return ir.Shape([batch, elements])


def _constant(name: str, numbers: Sequence[int]) -> ir.Value:
    tensor = ir.tensor(np.array(numbers, np.int64), name=name)
    return ir.Value(
        name=name, shape=ir.Shape([len(numbers)]), type=ir.TensorType(ir.DataType.INT64), const_value=tensor
    )
