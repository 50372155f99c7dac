"""A convolutional network: where it is narrow, the best cut for a slow device on a thin link, and its bundle.

python examples/cnn.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

import isthmus


def block(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


model = nn.Sequential(
    block(3, 24), block(24, 32), block(32, 8), block(8, 64), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)
).eval()

# The device is this machine, thirty times slower; the link carries 4 Mbit/s and takes 20 ms each way.
plan = isthmus.partition(model, torch.rand(1, 3, 128, 128), device=30, link="4Mbit 20ms", goal="latency")
print(plan)
for stretch in plan.stretches():
    print(f"{stretch.low_bps / 1e6:8.2f} to {stretch.high_bps / 1e6:8.2f} Mbit/s: {plan.name_of(stretch.choice)}")

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
manifest = plan.save(folder / "cnn.bundle", model_id="cnn", overwrite=True)
print("cut after", [cut.after for cut in manifest.cuts])
