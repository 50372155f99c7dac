"""MobileNetV2 with ImageNet weights as a bundle that takes pictures; needs the shared data, and torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

WEIGHTS = Path(os.environ.get("ISTHMUS_DATA", "../shared/data")) / "weights" / "mobilenet_v2_imagenet.safetensors"
BLOCKS = 19
"""Of the whole network, before its classifier."""


def can_be_made() -> bool:
    """Whether weights and torch are there."""
    return WEIGHTS.is_file() and find_spec("torch") is not None and find_spec("torchvision") is not None


def write_bundle(path: Path, *, size: tuple[int, int], cuts: Sequence[int], blocks: int = BLOCKS) -> None:
    """Write a bundle.

    Args:
        size: height and width of the pictures, uint8 [height, width, 3].
        cuts: numbers of the blocks to cut after, from 0.
        blocks: how many of the network's; with fewer than all, their mean over the picture is the output.
    """
    from partitioner.torchvision_shim import declare_missing_operators

    declare_missing_operators()
    import torch
    from safetensors.torch import load_file
    from torch import nn
    from torchvision.models import mobilenet_v2

    import isthmus

    whole = mobilenet_v2()
    whole.load_state_dict(load_file(WEIGHTS))

    class OnPictures(nn.Module):
        """Scales pictures as the network was trained."""

        def __init__(self) -> None:
            super().__init__()
            self.blocks = whole.features[:blocks]
            self.classifier = whole.classifier if blocks == BLOCKS else nn.Identity()
            self.register_buffer("mean", torch.tensor([123.675, 116.28, 103.53]))
            self.register_buffer("spread", torch.tensor([58.395, 57.12, 57.375]))

        def forward(self, picture: torch.Tensor) -> torch.Tensor:
            scaled = (picture.float() - self.mean) / self.spread  # [batch, height, width, 3]
            found: torch.Tensor = self.classifier(self.blocks(scaled.permute(0, 3, 1, 2)).mean((2, 3)))
            return found

    example = torch.zeros(1, *size, 3, dtype=torch.uint8)
    parts = isthmus.partition(OnPictures().eval(), example, cuts=[f"blocks.{cut}" for cut in cuts])
    parts.save(path, model_id="mobilenet-v2", task="classification" if blocks == BLOCKS else "tensor")
