"""A model of two inputs, a picture and a sensor's readings: a bundle carries one tensor in, taken apart inside.

python examples/two_inputs.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

import isthmus

PICTURE, READINGS = (3, 32, 32), 16


class TwoInputs(nn.Module):
    """As the user wrote it."""

    def __init__(self) -> None:
        super().__init__()
        self.eye = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 8, 3, 2, 1), nn.Flatten())
        self.skin = nn.Sequential(nn.Linear(READINGS, 32), nn.ReLU())
        self.join = nn.Sequential(nn.Linear(8 * 64 + 32, 24), nn.ReLU(), nn.Linear(24, 5))

    def forward(self, picture: Tensor, readings: Tensor) -> Tensor:
        answer: Tensor = self.join(torch.cat([self.eye(picture), self.skin(readings)], 1))
        return answer


class OneInput(nn.Module):
    """The same on one row of numbers: the picture's, then the readings."""

    def __init__(self, model: TwoInputs) -> None:
        super().__init__()
        self.model = model

    def forward(self, row: Tensor) -> Tensor:
        picture = row[:, :-READINGS].reshape(-1, *PICTURE)
        answer: Tensor = self.model(picture, row[:, -READINGS:])
        return answer


torch.manual_seed(0)
model = TwoInputs().eval()

# Cutting handles several inputs as they are. Two tensors cross where neither branch has met the other.
both = isthmus.partition(model, (torch.rand(1, *PICTURE), torch.rand(1, READINGS)), most_tensors=2)
print(both)

row = torch.rand(1, 3 * 32 * 32 + READINGS)
parts = isthmus.partition(OneInput(model).eval(), row, cuts=["model.join.1"])
folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
manifest = parts.save(folder / "two_inputs.bundle", model_id="two-inputs", overwrite=True)
print(manifest.cuts[1].tensor)
