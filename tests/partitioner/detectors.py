"""torchvision's SSDlite as shipped, weights set at random, and a non-maximum suppression of its own in plain Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from partitioner.torchvision_shim import declare_missing_operators

CLASSES = 21


def ssdlite() -> Any:
    """SSDlite320 on MobileNetV3-Large; deterministic weights under which some boxes are sure and most are not."""
    declare_missing_operators()
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large

    torch.manual_seed(0)
    detector: nn.Module = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=CLASSES).eval()
    return spread(detector)


def spread(detector: nn.Module) -> nn.Module:
    """Make the answers vary with the picture: statistics measured on noise, last layers widened."""
    norms = [module for module in detector.modules() if isinstance(module, nn.BatchNorm2d)]
    generator = torch.Generator().manual_seed(1)
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    head: Any = detector.head
    with torch.no_grad():
        detector.backbone(torch.randn(4, 3, 320, 320, generator=generator))
        for norm in norms:
            norm.eval()
        features = list(detector.backbone(torch.randn(4, 3, 320, 320, generator=generator)).values())
        for norm in norms:
            norm.train()
        head(features)
        for norm in norms:
            norm.eval()
        for convolutions, width in ((head.classification_head, 3.0), (head.regression_head, 0.5)):
            for block in convolutions.module_list:
                block[-1].weight.normal_(std=width / block[-1].in_channels ** 0.5, generator=generator)
    return detector


def plain_nms(boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float) -> Tensor:
    """What `torchvision.ops.batched_nms` promises, box by box in NumPy; its own wants a library of this torch."""
    corners, classes = boxes.double().numpy(), labels.numpy()
    kept: dict[int, list[int]] = {}
    for place in np.argsort(-scores.numpy(), kind="stable"):
        rivals = kept.setdefault(int(classes[place]), [])
        if not (_overlaps(corners[place], corners[rivals]) > iou_threshold).any():
            rivals.append(int(place))
    found = np.array([place for places in kept.values() for place in places], np.int64)
    return torch.from_numpy(found[np.argsort(-scores.numpy()[found], kind="stable")])


def _overlaps(one: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    sides = np.minimum(one[2:], others[:, 2:]) - np.maximum(one[:2], others[:, :2])
    common = sides.clip(0).prod(1)
    areas = (one[2:] - one[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1)
    return np.asarray(common / np.maximum(areas - common, 1e-12), np.float64)
