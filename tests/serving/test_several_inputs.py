"""A model of three inputs on a tier: frames of a device, and requests that name each input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import ClientSession

from runtime.errors import PostprocessorMissing
from runtime.inputs import joined
from runtime.manifest import Postprocessor, TensorSpec
from tests.runtime import two_inputs
from tests.runtime.providing import provide
from tests.serving.oip.doors import open_doors
from tests.serving.tiers import a_device, a_tier, logits_of


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> two_inputs.TwoInputs:
    return two_inputs.build(tmp_path_factory.mktemp("several") / "two.bundle")


async def test_frames_at_either_cut_are_answered_as_numpy_does(made: two_inputs.TwoInputs) -> None:
    records = two_inputs.records(3)
    rows = joined(records, two_inputs.INPUTS)
    async with a_tier("cloud", made.path) as tier, a_device(made.path, tier.dial) as device:
        for cut, level in ((0, 0), (0, 1), (1, 0)):
            answers = [await device.answer(device.frame(rows[n : n + 1], cut, level)) for n in range(len(rows))]
            np.testing.assert_allclose([logits_of(one) for one in answers], made.truth(records), rtol=1e-4, atol=1e-5)


def asking(records: np.ndarray, **changes: Any) -> dict[str, Any]:
    kinds = {"picture": "UINT8", "readings": "FP32", "step": "INT64"}
    inputs = [
        {"name": name, "datatype": kind, "shape": list(records[name].shape), "data": records[name].ravel().tolist()}
        for name, kind in kinds.items()
    ]
    return {"inputs": inputs[::-1]} | changes


async def test_requests_name_each_input_and_are_answered_as_numpy_does(made: two_inputs.TwoInputs) -> None:
    records = two_inputs.records(4)
    async with open_doors(made.path) as doors, ClientSession(doors.rest) as session:
        async with session.get("/v2/models/two-inputs") as response:
            told = await response.json()
        assert [(one["name"], one["datatype"], one["shape"]) for one in told["inputs"]] == [
            ("picture", "UINT8", [-1, 4, 4, 3]),
            ("readings", "FP32", [-1, 3]),
            ("step", "INT64", [-1]),
        ]
        status, answer = await _infer(session, asking(records))
        assert status == 200, answer
        logits = np.reshape(answer["outputs"][0]["data"], (4, 4))
        np.testing.assert_allclose(logits, made.truth(records), rtol=1e-4, atol=1e-5)
        short = asking(records)
        short["inputs"][0] |= {"shape": [3], "data": [0, 0, 0]}
        for wrong, why in (
            (asking(records) | {"inputs": asking(records)["inputs"][:2]}, "takes the inputs 'picture', 'readings'"),
            (short, "as many items"),
        ):
            status, answer = await _infer(session, wrong)
            assert status == 400
            assert why in answer["error"]


async def _infer(session: ClientSession, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    async with session.post("/v2/models/two-inputs/infer", data=json.dumps(request)) as response:
        return response.status, await response.json()


LARGEST = """
def largest(outputs):
    return [outputs[0].argmax(1)]

largest.version = "2"
"""


async def test_a_tier_answers_with_what_the_post_processor_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "packages").mkdir()
    provide(tmp_path / "packages", "largest_of_tiers", LARGEST, {"largest": "largest_of_tiers:largest"})
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    declared = Postprocessor(name="largest", version="2", takes=(two_inputs.LOGITS,))
    made = two_inputs.build(tmp_path / "bundle", declared, (TensorSpec(name="class", dtype="int64", shape=()),))
    records = two_inputs.records(3)
    async with a_tier("cloud", made.path) as tier, a_device(made.path, tier.dial) as device:
        rows = joined(records, two_inputs.INPUTS)
        answers = [await device.answer(device.frame(rows[n : n + 1], 1)) for n in range(len(rows))]
    assert [answer.outputs[0].name for answer in answers] == ["class"] * 3
    assert [int(logits_of(answer)) for answer in answers] == made.truth(records).argmax(1).tolist()


async def test_a_tier_without_the_post_processor_does_not_start(tmp_path: Path) -> None:
    declared = Postprocessor(name="boxes-of-nobody", version="3", takes=(two_inputs.LOGITS,))
    made = two_inputs.build(tmp_path / "bundle", declared)
    with pytest.raises(PostprocessorMissing, match="'boxes-of-nobody' is not installed here"):
        async with a_tier("cloud", made.path):
            pass
