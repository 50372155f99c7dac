"""torchvision's single-shot detectors as networks of tensors: a batch of pictures in, a fixed number of boxes out.

As shipped they take lists of pictures of any size and return lists of as many boxes as are found, which neither a graph
nor a bundle can declare. Here the pictures have the detector's own size, and what is not found is zero.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from partitioner.errors import UnsupportedModel
from partitioner.suppression import suppress

PARTS = ("transform", "backbone", "head", "anchor_generator", "box_coder")


class SingleShotDetector(nn.Module):
    """A `torchvision.models.detection.SSD` (SSD300, SSDlite) on pictures of its own size.

    Takes float32 [batch, 3, height, width] from 0 to 1. Returns boxes float32 [batch, found, 4] (left, top, right,
    bottom in pixels), scores float32 [batch, found], falling, and labels int64 [batch, found]; `found` is what the
    detector calls `detections_per_img`. Rows of score 0 hold nothing. Module paths are the detector's own, parameters
    are shared.

    Raises:
        UnsupportedModel: not a single-shot detector of torchvision.
    """

    mean: Tensor
    spread: Tensor
    weights: Tensor
    limits: Tensor
    anchors: Tensor

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        missing = [name for name in PARTS if not hasattr(detector, name)]
        if missing:
            raise UnsupportedModel(
                f"a {type(detector).__name__} has no {', '.join(missing)}, so it is no single-shot detector of "
                "torchvision; cut its backbone, detector.backbone, instead"
            )
        whole: Any = detector
        self.backbone: nn.Module = whole.backbone
        self.head: nn.Module = whole.head
        self.side: tuple[int, int] = tuple(whole.transform.fixed_size)[::-1]
        """Height and width."""
        self.largest = float(whole.box_coder.bbox_xform_clip)
        self.least, self.overlap = float(whole.score_thresh), float(whole.nms_thresh)
        self.candidates, self.found = int(whole.topk_candidates), int(whole.detections_per_img)
        height, width = self.side
        self.register_buffer("limits", torch.tensor([width, height, width, height], dtype=torch.float32))
        self.register_buffer("weights", torch.tensor(whole.box_coder.weights))
        self.register_buffer("mean", torch.tensor(whole.transform.image_mean).reshape(1, 3, 1, 1))
        self.register_buffer("spread", torch.tensor(whole.transform.image_std).reshape(1, 3, 1, 1))
        self.train(detector.training)
        self.register_buffer("anchors", _anchors(whole, self.side))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = list(self.backbone((pictures - self.mean) / self.spread).values())
        told = self.head(features)
        boxes = self._boxes(told["bbox_regression"])  # [batch, anchors, 4]
        scores = torch.softmax(told["cls_logits"], -1)[..., 1:].transpose(1, 2)  # [batch, classes, anchors]
        return self._selected(boxes, suppress(boxes, scores, self.overlap, self.least, self.candidates))

    def _boxes(self, offsets: Tensor) -> Tensor:
        """Offsets from the anchors as corners inside the picture (Ren et al., Faster R-CNN, 2015, section 3.1.2)."""
        sizes = self.anchors[:, 2:] - self.anchors[:, :2]
        offsets = offsets / self.weights
        middle = offsets[..., :2] * sizes + (self.anchors[:, :2] + 0.5 * sizes)
        half = 0.5 * offsets[..., 2:].clamp(max=self.largest).exp() * sizes
        return torch.cat([middle - half, middle + half], -1).clamp(min=0).minimum(self.limits)

    def _selected(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The best of all classes together."""
        anchors = boxes.shape[1]
        best, place = torch.topk(scores.flatten(1), min(self.found, scores.shape[1] * anchors))
        found = best > 0
        chosen = torch.gather(boxes, 1, (place % anchors)[..., None].expand(-1, -1, 4))
        labels = torch.div(place, anchors, rounding_mode="floor") + 1
        return chosen * found[..., None], best, labels * found


def _anchors(detector: Any, side: tuple[int, int]) -> Tensor:
    """[anchors, 4] corners in pixels; they depend on nothing but the picture's size."""
    from torchvision.models.detection.image_list import ImageList

    picture = next(detector.parameters()).new_zeros(1, 3, *side)
    if detector.training:
        raise UnsupportedModel("the detector is in training mode; call detector.eval() first")
    with torch.no_grad():
        features = list(detector.backbone(picture).values())
        anchors: Tensor = detector.anchor_generator(ImageList(picture, [side]), features)[0]
    return anchors
