"""A model of two inputs, a picture and a sensor's readings, cut as it is. Frames carry both as one row of bytes.

python examples/two_inputs.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import isthmus
from runtime.engines import engine_named
from runtime.inputs import joined, record_type
from runtime.stage import Stage


class TwoInputs(nn.Module):
    """As the user wrote it."""

    def __init__(self) -> None:
        super().__init__()
        self.eye = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 8, 3, 2, 1), nn.Flatten())
        self.skin = nn.Sequential(nn.Linear(16, 32), nn.ReLU())
        self.join = nn.Sequential(nn.Linear(8 * 64 + 32, 24), nn.ReLU(), nn.Linear(24, 5))

    def forward(self, picture: Tensor, readings: Tensor) -> Tensor:
        pixels = picture.permute(0, 3, 1, 2).float() / 255.0
        answer: Tensor = self.join(torch.cat([self.eye(pixels), self.skin(readings)], 1))
        return answer


torch.manual_seed(0)
model = TwoInputs().eval()
example = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8), torch.rand(1, 16)

# Behind "eye" and in front of "skin" the features of one input cross, and the other input as it came.
parts = isthmus.partition(model, example, cuts=["eye", "join.1"], most_tensors=2)
print(parts)
folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
manifest = parts.save(folder / "two_inputs.bundle", model_id="two-inputs", task="classification", overwrite=True)
print("takes", *(f"{spec.name}: {spec.dtype} {list(spec.shape)}" for spec in manifest.takes))

# What a device's source gives: NumPy records with a field for each input. NPY files hold them, and can be pushed.
generator = np.random.default_rng(0)
records = np.zeros(4, record_type(manifest.takes))
records["picture"] = generator.integers(0, 256, (4, 32, 32, 3))
records["readings"] = generator.random((4, 16))
for number, record in enumerate(records):
    np.save(folder / f"item_{number}.npy", record)

# What the device and the tiers do with them, here in one process.
with isthmus.Bundle.open(folder / "two_inputs.bundle") as bundle, torch.no_grad():
    stage = Stage(bundle, engine_named("onnxruntime", 1))
    rows = joined(records, manifest.takes)
    (split,) = stage.run(stage.run(rows, 0, 2)[0], 2)
    whole = model(torch.from_numpy(records["picture"]), torch.from_numpy(records["readings"])).numpy()
print(f"largest difference from the whole model: {abs(split - whole).max():.1e}")
