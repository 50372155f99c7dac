"""Multiply-accumulates of one operator, for one item of the batch, from the shapes that the capture recorded."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor, fx

aten = torch.ops.aten


def macs_of(node: fx.Node, batch: Any) -> int:
    """Multiply-accumulates per item; 0 for operators that are neither convolutions nor matrix products."""
    count = _COUNTS.get(getattr(node.target, "overloadpacket", None))
    if count is None:
        return 0
    shapes = [_item(argument, batch) for argument in node.args]
    return count(_item(node, batch), shapes, node)


def _item(argument: Any, batch: Any) -> tuple[int, ...]:
    """Shape with a batch of one; () for what is no tensor."""
    value = argument.meta.get("val") if isinstance(argument, fx.Node) else None
    if not isinstance(value, Tensor):
        return ()
    return tuple(_one(size, batch) for size in value.shape)


def _one(size: int | torch.SymInt, batch: Any) -> int:
    if isinstance(size, int):
        return size
    return int(size.node.expr.subs({batch.node.expr: 1}))


Shape = tuple[int, ...]
Count = Callable[[Shape, list[Shape], fx.Node], int]


def _convolution(out: Shape, shapes: list[Shape], node: fx.Node) -> int:
    transposed = len(node.args) > 6 and node.args[6] is True
    weight = shapes[1]
    return prod(shapes[0]) * prod(weight[1:]) if transposed else prod(out) * prod(weight[1:])


def _transposed_convolution(out: Shape, shapes: list[Shape], node: fx.Node) -> int:
    return prod(shapes[0]) * prod(shapes[1][1:])


def _product(position: int) -> Count:
    """`position`: the argument whose last axis is summed over."""

    def count(out: Shape, shapes: list[Shape], node: fx.Node) -> int:
        return prod(out) * shapes[position][-1]

    return count


def _attention(out: Shape, shapes: list[Shape], node: fx.Node) -> int:
    query, key, value = shapes[0], shapes[1], shapes[2]
    return prod(query) * key[-2] + prod(query[:-1]) * key[-2] * value[-1]


_COUNTS: dict[Any, Count] = {
    aten.convolution: _convolution,
    aten.conv1d: _convolution,
    aten.conv2d: _convolution,
    aten.conv3d: _convolution,
    aten.conv_transpose1d: _transposed_convolution,
    aten.conv_transpose2d: _transposed_convolution,
    aten.conv_transpose3d: _transposed_convolution,
    aten.linear: _product(0),
    aten.mm: _product(0),
    aten.bmm: _product(0),
    aten.matmul: _product(0),
    aten.addmm: _product(1),
    aten.baddbmm: _product(1),
    aten.scaled_dot_product_attention: _attention,
}
