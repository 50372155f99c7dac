"""Trainings that share what the network makes of their batches end in the weights of trainings that do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from partitioner.compressors.bottleneck import Shape
from partitioner.compressors.methods import METHODS
from partitioner.compressors.trainer import Plan, Teacher, train_compressor


class Noise:
    """Pictures that vary with torch's random numbers, as training samples do."""

    def __len__(self) -> int:
        return 64

    def take(self, chosen: NDArray[np.int64]) -> tuple[Tensor, Tensor | None]:
        plain = torch.from_numpy(chosen).float()[:, None, None, None].sin() * torch.ones(1, 3, 8, 8)
        return plain + torch.randn(len(chosen), 3, 8, 8), None


@pytest.mark.slow
def test_a_remembering_teacher_changes_no_weight(tmp_path: Path) -> None:
    from benchmarks.rate_levels import Remembering

    torch.manual_seed(0)
    segments = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU()), nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    remembering = Remembering(segments[0], segments[1:], True)
    weights = {}
    for name, teacher in (
        ("plain", Teacher(segments[0], segments[1:], True)),
        ("first", remembering),
        ("second", remembering),
    ):
        made = train_compressor(
            METHODS["gained"], Shape(4, 1, 4, 2, 2), teacher, Noise(), Plan((1e-2, 1e-3), 24, 8),
            work=tmp_path / name, report=lambda told, done: None, warn=lambda told: None,
        )  # fmt: skip
        weights[name] = made.state_dict()
    assert len(remembering.lessons) == 24
    for name in ("first", "second"):
        assert all(torch.equal(weights[name][key], value) for key, value in weights["plain"].items())
