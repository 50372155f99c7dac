"""Each network partitioned at every single-tensor cut and saved, once for all tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from partitioner.api import Partition, partition
from runtime.manifest import Manifest
from tests.partitioner import models

PIXELS = torch.randint(0, 256, (5, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
IMAGES = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(2))
MAKERS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "residual": (models.ResidualNet, IMAGES),
    "photo": (models.PhotoNet, PIXELS),
    "perceptron": (models.perceptron, torch.randn(5, 20, generator=torch.Generator().manual_seed(3))),
    "branches": (models.Branches, IMAGES),
    "tokens": (models.TokenNet, IMAGES),
    "tied": (models.TiedNet, torch.randn(5, 64, generator=torch.Generator().manual_seed(4))),
}


@pytest.fixture(scope="session", autouse=True)
def operators_read_once() -> Iterator[None]:
    """The exporter parses the source of every ONNX operator anew for each export: half of the time of a small one."""
    from torch.onnx._internal._lazy_import import onnxscript_apis

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnxscript_apis, "get_torchlib_ops", cache(onnxscript_apis.get_torchlib_ops))
        yield


@dataclass(frozen=True)
class Saved:
    model: nn.Module
    inputs: Tensor
    partition: Partition
    folder: Path
    manifest: Manifest

    @cached_property
    def sessions(self) -> list[onnxruntime.InferenceSession]:
        """The segments, opened from the bundle's files."""
        files = [str(self.folder / segment.model) for segment in self.manifest.segments]
        return [onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]) for file in files]

    def truth(self, inputs: Tensor) -> list[NDArray[Any]]:
        """What the user's own model answers, in plain eager PyTorch."""
        with torch.no_grad():
            result = self.model(inputs)
        outputs = result.values() if isinstance(result, dict) else [result]
        return [output.numpy() for output in outputs]


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Saved]:
    made: dict[str, Saved] = {}

    def get(name: str) -> Saved:
        if name not in made:
            made[name] = _save(name, tmp_path_factory.mktemp(name) / "bundle")
        return made[name]

    return get


def _save(name: str, folder: Path) -> Saved:
    make, inputs = MAKERS[name]
    torch.manual_seed(0)
    model = models.settled(make())
    parts = partition(model, inputs[:1])
    return Saved(model, inputs, parts, folder, parts.save(folder, model_id=name))


def differ(values: list[NDArray[Any]], truth: list[NDArray[Any]]) -> float:
    """Largest difference of any output, relative to that output's range."""
    assert [value.shape for value in values] == [true.shape for true in truth]
    return max(float(np.abs(value - true).max() / np.ptp(true)) for value, true in zip(values, truth, strict=True))
