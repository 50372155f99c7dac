"""Frames of every cut and level at once, in batches, get the answers that they get alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from protocol.messages import Frame, Handover, Refusal, Result
from runtime.bundle import Bundle
from runtime.engines.onnxruntime import OnnxRuntimeEngine
from runtime.manifest import Manifest
from runtime.stretch import Stretch
from serving.passage import stacked
from serving.scheduling.costs import Costs
from serving.served import Served
from serving.tier import Tier
from serving.warming import warm
from tests.runtime.tiny_bundle import TinyBundle
from tests.serving.occupied import occupied
from tests.serving.tiers import Device, a_device, a_tier, logits_of
from transport.stream import Request


async def _answers(tier: Tier, frames: Sequence[Frame]) -> list[Result | Refusal]:
    """All at once, while the one thread is busy."""
    now_s = time.monotonic()
    async with occupied(tier.workers):
        asked = [asyncio.create_task(_answer(tier, Request(frame, "device", now_s))) for frame in frames]
        await asyncio.sleep(0)
        assert tier.load().queued == len(frames)
    return list(await asyncio.gather(*asked))


async def _answer(tier: Tier, request: Request) -> Result | Refusal:
    return await tier(request)


def _every_kind(device: Device, items: Sequence[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]) -> list[Frame]:
    """Every item at every cut and level."""
    return [
        device.frame(item, cut.index, level)
        for item in items
        for cut in device.bundle.manifest.cuts
        for level in range(len(cut.levels))
    ]


async def test_mixed_cuts_and_levels_in_batches_equal_one_by_one(tiny_bundle: TinyBundle) -> None:
    async with a_tier("edge", tiny_bundle.path) as edge, a_device(tiny_bundle.path, edge.dial) as device:
        frames = _every_kind(device, tiny_bundle.items[:3])
        alone = [logits_of(await device.answer(frame)) for frame in frames]
        before = _batched(edge.tier)
        together = await _answers(edge.tier, frames)
        items, batches = (after - then for after, then in zip(_batched(edge.tier), before, strict=True))
        assert items > batches
        for frame, truth, answer in zip(frames, alone, together, strict=True):
            assert isinstance(answer, Result)
            assert answer.id == frame.id
            np.testing.assert_allclose(logits_of(answer), truth, rtol=1e-4, atol=1e-5)


def _batched(tier: Tier) -> tuple[int, int]:
    """Items and batches that segments were run for."""
    steps = tier.explained()["steps"]
    assert isinstance(steps, dict)
    runs = [told for step, told in steps.items() if step.startswith("run")]
    return sum(round(told["batches"] * told["mean_size"]) for told in runs), sum(told["batches"] for told in runs)


async def test_one_payload_of_noise_in_a_batch_is_refused_alone(tiny_bundle: TinyBundle) -> None:
    async with a_tier("edge", tiny_bundle.path) as edge, a_device(tiny_bundle.path, edge.dial) as device:
        frames = [device.frame(item, 1, 0) for item in tiny_bundle.items]
        frames[2] = replace(frames[2], payload=b"\xff" * len(frames[2].payload))
        answers = await _answers(edge.tier, frames)
        assert [isinstance(answer, Refusal) for answer in answers] == [n == 2 for n in range(len(frames))]


async def test_handovers_in_batches_equal_one_by_one(tiny_bundle: TinyBundle) -> None:
    path = tiny_bundle.path
    async with (
        a_tier("cloud", path) as cloud,
        a_tier("edge", path, cloud.dial) as edge,
        a_device(path, edge.dial) as device,
    ):
        frames = [
            device.frame(item, first, handover=Handover(second, 0))
            for item in tiny_bundle.items[:2]
            for first in range(3)
            for second in range(max(1, first), 3)
        ]
        alone = [logits_of(await device.answer(frame)) for frame in frames]
        for truth, answer in zip(alone, await _answers(edge.tier, frames), strict=True):
            assert isinstance(answer, Result)
            np.testing.assert_allclose(logits_of(answer), truth, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("nodes", ["mixes the items", "takes one item only"])
def test_a_graph_that_is_not_made_for_batches_is_run_one_by_one(
    tiny_bundle: TinyBundle, tmp_path: Path, nodes: str
) -> None:
    """The tiny model's last segment, replaced by one that subtracts the mean over the batch, or has a batch of 1."""
    path = tmp_path / "other.isthmus"
    _copy_with_last_segment(tiny_bundle.path, path, mixing=nodes == "mixes the items")
    costs = Costs()
    with Bundle.open(path) as bundle:
        served = Served(bundle, OnnxRuntimeEngine())
        warm(served, costs, Stretch())
        assert costs.of(served.runs[2]).limit == 1
        assert costs.of(served.runs[1]).limit > 1


def _copy_with_last_segment(source: Path, target: Path, *, mixing: bool) -> None:
    from runtime.bundle import MANIFEST_NAME, file_entry

    target.mkdir()
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    manifest = Manifest.model_validate_json((source / MANIFEST_NAME).read_bytes())
    taken, given = manifest.cuts[2].tensor, manifest.outputs[0]
    side: str | int = "batch" if mixing else 1
    weight = np.linspace(-1, 1, taken.shape[0] * given.shape[0], dtype=np.float32).reshape(taken.shape[0], -1)
    chain = [
        helper.make_node("ReduceMean", [taken.name], ["pooled"], axes=[2, 3], keepdims=0),
        helper.make_node("ReduceMean", ["pooled"], ["middle"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["pooled", "middle"] if mixing else ["pooled", "zero"], ["centred"]),
        helper.make_node("MatMul", ["centred", "weight"], [given.name]),
    ]
    graph = helper.make_graph(
        chain,
        "tail",
        [helper.make_tensor_value_info(taken.name, onnx.TensorProto.FLOAT, [side, *taken.shape])],
        [helper.make_tensor_value_info(given.name, onnx.TensorProto.FLOAT, [side, *given.shape])],
        [onnx.numpy_helper.from_array(weight, "weight"), onnx.numpy_helper.from_array(np.zeros(1, np.float32), "zero")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    segment = target / manifest.segments[2].model
    segment.write_bytes(model.SerializeToString())
    files = manifest.files | {segment.name: file_entry(segment)}
    (target / MANIFEST_NAME).write_bytes(manifest.model_copy(update={"files": files}).to_bytes())


def test_rows_of_one_array_are_stacked_without_a_copy_and_others_with_one() -> None:
    whole = np.arange(24, dtype=np.float32).reshape(6, 2, 2)
    rows = [whole[n : n + 1] for n in range(6)]
    joined = stacked(rows[1:4])
    np.testing.assert_array_equal(joined, whole[1:4])
    assert np.shares_memory(joined, whole)
    for order in ([3, 1], [0, 2], [2, 2], [0, 1, 1]):
        mixed = stacked([rows[n] for n in order])
        np.testing.assert_array_equal(mixed, whole[order])
        assert not np.shares_memory(mixed, whole)
    np.testing.assert_array_equal(stacked([rows[0], np.ones((1, 2, 2), np.float32)])[1], np.ones((2, 2)))
    assert stacked([rows[5]]) is rows[5]
