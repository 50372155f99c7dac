"""A device with a model of three inputs: its source gives records, and any route answers them as NumPy does."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest

from device.program import run
from device.settings import load
from runtime.answers import answers_of
from tests.device.conftest import assert_each_ended_once, assert_says
from tests.runtime import two_inputs
from tests.serving.tiers import a_tier


@pytest.mark.parametrize(("cut", "route"), [(0, "cloud"), (1, "cloud"), (2, "device")])
async def test_records_in_npy_files_are_answered_at_every_cut(tmp_path: Path, cut: int, route: str) -> None:
    made, records = two_inputs.build(tmp_path / "two.bundle"), two_inputs.records(5)
    items = tmp_path / "items"
    items.mkdir()
    for number, record in enumerate(records):
        np.save(items / f"{number}.npy", record)
    np.save(items / "9.npy", np.zeros((), [("picture", "u1", (4, 4, 3))]))
    history = tmp_path / "history.jsonl"
    async with a_tier("cloud", made.path) as tier:
        values: dict[str, object] = {
            "bundle": str(made.path), "measure_s": 0.05, "deadline_s": 5.0, "source.path": str(items),
            "source.rate_hz": 50.0, "source.loop": False, "source.keep": "all", "history.path": str(history),
            "cloud.target": tier.dial.target, "policy.name": "fixed", "policy.cut": cut, "policy.route": route,
        }  # fmt: skip
        await run(load(None, values | ({} if route == "device" else {"policy.level": 0})), stop=asyncio.Event())
    lines = [json.loads(line) for line in history.read_text().splitlines()]
    assert_each_ended_once(lines, 6)
    answers = answers_of(made.truth(records))
    answered = {line["source"]: line for line in lines}
    for number, answer in enumerate(answers):
        assert_says(answered[f"{number}.npy"], answer)
        assert answered[f"{number}.npy"]["by"] == route
    assert "a field 'readings'" in answered["9.npy"]["reason"]
