"""A segmentation network: a map comes back, so the way down counts; its quality is mean IoU, not top-1.

python examples/segmentation.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

import isthmus
from partitioner.metrics import MeanIou, agreement
from runtime.engines import engine_named
from runtime.stage import Stage


class Segmenter(nn.Module):
    """An encoder, a narrow middle, and a decoder to one class per pixel."""

    def __init__(self, classes: int = 6) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 24, 3, 2, 1), nn.ReLU(), nn.Conv2d(24, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 4, 1)
        )
        self.decoder = nn.Sequential(nn.Conv2d(4, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, classes, 1))

    def forward(self, pictures: Tensor) -> Tensor:
        maps: Tensor = self.decoder(self.encoder(pictures))
        return nn.functional.interpolate(maps, scale_factor=4.0, mode="bilinear")


torch.manual_seed(0)
model = Segmenter().eval()
pictures = torch.rand(4, 3, 64, 64)

# Up 2 Mbit/s, down 8: the answer, one number per class and pixel, is larger than the picture.
plan = isthmus.partition(model, pictures[:1], cuts=["encoder"], device=50, link="2Mbit/8Mbit 10ms", goal="latency")
print(plan)

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
plan.partition.save(folder / "segmenter.bundle", model_id="segmenter", overwrite=True)
with isthmus.Bundle.open(folder / "segmenter.bundle") as bundle, torch.no_grad():
    split = Stage(bundle, engine_named("onnxruntime", 1)).run(pictures.numpy())[0]
    whole = model(pictures).numpy()
print(
    f"agreement with the whole model: {agreement(MeanIou(), [(m,) for m in split], [(m,) for m in whole]):.4f} mean IoU"
)
