"""Non-maximum suppression as one operator of fixed shape: what `torch.export` can capture and ONNX can say.

Detectors end in a selection whose length depends on the picture, which no segment can declare. This operator keeps the
shape of the scores and sets to zero those of boxes that are not selected; a fixed number of the best is taken behind
it. In ONNX it becomes NonMaxSuppression (operator set 11 and later).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from onnxscript import opset20 as op
from torch import Tensor

NAME = "isthmus::suppress"
OPERATOR = "isthmus.suppress.default"
"""How the operator is called in a captured graph."""


@torch.library.custom_op(NAME, mutates_args=())
def suppress(boxes: Tensor, scores: Tensor, overlap: float, least: float, most: int) -> Tensor:
    """The scores of boxes that no better box of the same class overlaps by more than `overlap`; zero for all others.

    Args:
        boxes: float32 [batch, boxes, 4], two corners each.
        scores: float32 [batch, classes, boxes], at least 0.
        overlap: intersection over union from which on the lesser of two boxes goes.
        least: scores up to this are zero.
        most: so many of a class's best boxes are looked at.

    Returns:
        float32 [batch, classes, boxes]. Of equal scores the box in front wins.
    """
    ranked, order = torch.sort(scores, dim=-1, descending=True, stable=True)
    ranked, order = ranked[..., :most], order[..., :most]
    candidates = ranked > least
    looked_at = int(candidates.sum(-1).max()) if candidates.numel() else 0
    ranked, order, candidates = ranked[..., :looked_at], order[..., :looked_at], candidates[..., :looked_at]
    # Picture by picture: the overlaps of all classes of one take a hundred megabytes and more.
    kept = [
        value * _alive(corners[places], wanted, overlap)
        for corners, value, places, wanted in zip(boxes, ranked, order, candidates, strict=True)
    ]
    return torch.zeros_like(scores).scatter(-1, order, torch.stack(kept))


@suppress.register_fake
def _shape(boxes: Tensor, scores: Tensor, overlap: float, least: float, most: int) -> Tensor:
    return torch.empty_like(scores)


def _alive(boxes: Tensor, candidates: Tensor, overlap: float) -> Tensor:
    """[classes, boxes]: the greedy selection, boxes sorted from the best, all classes at once."""
    over = overlaps(boxes, boxes) > overlap
    alive = candidates.clone()
    for place in range(boxes.shape[1] - 1):
        alive[:, place + 1 :] &= ~(over[:, place, place + 1 :] & alive[:, place, None])
    return alive


def overlaps(boxes: Tensor, others: Tensor) -> Tensor:
    """[..., boxes, others]: intersection over union; 0 where neither box has an area."""
    low = torch.maximum(boxes[..., :, None, :2], others[..., None, :, :2])
    high = torch.minimum(boxes[..., :, None, 2:], others[..., None, :, 2:])
    common = (high - low).clamp(min=0).prod(-1)
    areas = [(group[..., 2:] - group[..., :2]).prod(-1) for group in (boxes, others)]
    return common / (areas[0][..., :, None] + areas[1][..., None, :] - common).clamp(min=1e-12)


def _in_onnx(boxes: Any, scores: Any, overlap: float, least: float, most: int) -> Any:
    count = op.Min(op.Constant(value_ints=[most]), op.Shape(scores, start=2, end=3))
    nothing = op.Mul(scores, op.Constant(value_float=0.0))
    ranked, order = op.TopK(scores, count, axis=-1)
    kept = op.ScatterElements(nothing, order, ranked, axis=2)
    chosen = op.NonMaxSuppression(
        boxes, kept, count, op.Constant(value_floats=[overlap]), op.Constant(value_floats=[least])
    )
    return op.ScatterND(nothing, chosen, op.GatherND(kept, chosen))


def onnx_forms() -> dict[Callable[..., Any], Callable[..., Any]]:
    """What the ONNX exporter makes of the operators here."""
    return {torch.ops.isthmus.suppress.default: _in_onnx}
