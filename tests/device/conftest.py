"""A device over the tiny bundle, run in this process, and what its history says."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from device.program import run
from device.settings import load
from runtime.answers import Answer, answer_of
from runtime.engines.onnxruntime import OnnxRuntimeEngine
from tests.runtime.tiny_bundle import TinyBundle


@dataclass(frozen=True)
class DeviceRuns:
    """Runs a device with settings and gives its lines back."""

    folder: Path
    bundle: Path
    pictures: Path

    @property
    def history(self) -> Path:
        return self.folder / "history.jsonl"

    def settings(self, **changes: object) -> dict[str, object]:
        """Dotted keys; two underscores stand for a dot."""
        base: dict[str, object] = {
            "bundle": str(self.bundle),
            "measure_s": 0.05,
            "source.path": str(self.pictures),
            "source.rate_hz": 50.0,
            "history.path": str(self.history),
        }
        return base | {key.replace("__", "."): value for key, value in changes.items()}

    async def run(self, stop: asyncio.Event | None = None, **changes: object) -> list[dict[str, Any]]:
        await run(load(None, self.settings(**changes)), stop=stop or asyncio.Event())
        return self.lines()

    def lines(self) -> list[dict[str, Any]]:
        if not self.history.exists():
            return []
        return [json.loads(line) for line in self.history.read_text().splitlines(keepends=True) if line.endswith("\n")]


@pytest.fixture
def device(tmp_path: Path, tiny_bundle: TinyBundle) -> DeviceRuns:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number, item in enumerate(tiny_bundle.items):
        Image.fromarray(item[0]).save(pictures / f"{number}.png")
    return DeviceRuns(tmp_path, tiny_bundle.path, pictures)


@pytest.fixture(scope="session")
def truth(tiny_bundle: TinyBundle) -> Callable[[str], Answer]:
    """The unsplit model's answer to a picture, by file name."""
    whole = OnnxRuntimeEngine().load(tiny_bundle.whole)
    answers = [answer_of(whole.run([item])[0]) for item in tiny_bundle.items]
    assert len({answer.confidence for answer in answers}) > 1, "a model that always says the same proves nothing"
    return lambda name: answers[int(Path(name).stem)]


def assert_says(line: dict[str, Any], answer: Answer) -> None:
    """The line has this label, with this confidence to 1e-4."""
    assert line["ended"] == "answered"
    assert line["answer"] == answer.label
    assert line["confidence"] == pytest.approx(answer.confidence, abs=1e-4)


def assert_each_ended_once(lines: list[dict[str, Any]], frames: int | None = None) -> None:
    """Frame numbers run from 1 without a gap and each has one line."""
    assert lines
    counts = Counter(line["frame"] for line in lines)
    assert counts == Counter(range(1, (frames or max(counts)) + 1))
    assert all(line["ended"] == "answered" or line["reason"] for line in lines)
    assert all(np.isfinite(line["latency_s"]) for line in lines)
