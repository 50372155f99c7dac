"""A tier whose work is done by a cluster says what the whole model says; Ray's own: test_ray.py."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from protocol.errors import Code
from protocol.messages import Frame, Refusal, Result
from runtime.bundle import Bundle
from runtime.engines.onnxruntime import OnnxRuntimeEngine
from runtime.errors import BundleInvalid
from runtime.stretch import Stretch
from serving.cluster.messages import Answer, Asked, Done, Failed
from serving.cluster.tail import Tail
from serving.passage import Passage
from serving.scheduling.costs import Costs
from serving.tier import Tier
from serving.warming import warm
from tests.runtime import recurrent_bundle
from tests.runtime.tiny_bundle import TinyBundle
from tests.serving.cluster.here import Here
from tests.serving.occupied import FRAME, occupied
from tests.serving.test_streams import talking
from tests.serving.tiers import a_device, a_tier, logits_of, whole
from transport.stream import Request


async def test_every_cut_and_level_equals_the_model_run_here(tiny_bundle: TinyBundle) -> None:
    cluster = Here(tiny_bundle.path)
    async with (
        a_tier("cloud", tiny_bundle.path, serve=cluster.serve) as cloud,
        a_device(tiny_bundle.path, cloud.dial) as device,
    ):
        cluster.batches.clear()  # of the warming
        item, asked = tiny_bundle.items[0], 0
        for cut in device.bundle.manifest.cuts:
            raw = await device.answer(device.frame(item, cut.index))
            np.testing.assert_allclose(logits_of(raw), whole(tiny_bundle.whole, item), atol=1e-4)
            for level in range(len(cut.levels)):
                frame = device.frame(item, cut.index, level)
                decoded = device.codecs.at(cut.index, level).decode(frame.payload)
                result = await device.answer(frame)
                np.testing.assert_allclose(logits_of(result), device.stage.run(decoded, cut.index)[0][0], atol=1e-4)
                assert result.answered_by == "cloud"
                asked += 1
        assert len(cluster.batches) == asked + len(device.bundle.manifest.cuts)


async def test_frames_of_all_cuts_go_out_in_one_batch(tiny_bundle: TinyBundle) -> None:
    cluster = Here(tiny_bundle.path)
    async with (
        a_tier("cloud", tiny_bundle.path, serve=cluster.serve) as cloud,
        a_device(tiny_bundle.path, cloud.dial) as device,
    ):
        frames = [device.frame(item, cut) for item in tiny_bundle.items[:2] for cut in range(3)]
        for size in 40 * (1, 2, 4, 8):  # taking more along costs nothing
            cloud.tier.workers.scheduler.costs.learn(cluster.served.away, size, 0.01)
        cluster.batches.clear()
        async with occupied(cloud.tier.workers):
            asked = [asyncio.create_task(_answer(cloud.tier, frame)) for frame in frames]
            await asyncio.sleep(0)
            assert cloud.tier.load().queued == len(frames)
        answers = await asyncio.gather(*asked)
        assert max(cluster.batches) > 1
        for frame, answer in zip(frames, answers, strict=True):
            assert isinstance(answer, Result)
            item = tiny_bundle.items[frames.index(frame) // 3]
            np.testing.assert_allclose(logits_of(answer), whole(tiny_bundle.whole, item), atol=1e-4)


async def _answer(tier: Tier, frame: Frame) -> Result | Refusal:
    return await tier(Request(frame, "device", time.monotonic()))


async def test_a_stream_keeps_its_state_in_the_tier_so_that_no_worker_is_missed(tmp_path: Path) -> None:
    path = recurrent_bundle.build(tmp_path)
    cluster = Here(path)
    async with a_tier("cloud", path, serve=cluster.serve) as cloud, talking(path, cloud.dial) as talk:
        await talk.steps(4)
        cluster.losses = 2
        await talk.steps(4)
        assert talk.stepper.sent_again == 0


async def test_a_batch_whose_worker_is_lost_is_answered_by_another(tiny_bundle: TinyBundle) -> None:
    cluster = Here(tiny_bundle.path)
    async with (
        a_tier("cloud", tiny_bundle.path, serve=cluster.serve) as cloud,
        a_device(tiny_bundle.path, cloud.dial) as device,
    ):
        cluster.losses = 3
        result = await device.answer(device.frame(tiny_bundle.items[0], 1))
        np.testing.assert_allclose(logits_of(result), whole(tiny_bundle.whole, tiny_bundle.items[0]), atol=1e-4)
        assert cluster.losses == 0


async def test_where_no_worker_is_left_a_frame_expires_when_its_time_is_over(tiny_bundle: TinyBundle) -> None:
    cluster = Here(tiny_bundle.path)
    async with (
        a_tier("cloud", tiny_bundle.path, serve=cluster.serve) as cloud,
        a_device(tiny_bundle.path, cloud.dial) as device,
    ):
        cluster.losses = 10**9
        answer = await device.ask(replace(device.frame(tiny_bundle.items[0], 1), remaining_us=200_000))
        assert isinstance(answer, Refusal)
        assert answer.code is Code.EXPIRED
        assert cluster.losses < 10**9 - 1


def test_a_worker_has_long_for_a_batch_that_nobody_waits_for_and_part_of_the_time_of_others(
    tiny_bundle: TinyBundle,
) -> None:
    """Warming gives its frames no deadline; a tier must not fail to start because its first batches take long."""
    patience_s: list[float] = []

    class Noting(Here):
        def run(self, tag: int, batch: Sequence[Asked], timeout_s: float) -> Sequence[Answer]:
            patience_s.append(timeout_s)
            return super().run(tag, batch, timeout_s)

    with Bundle.open(tiny_bundle.path) as bundle:
        served = Noting(tiny_bundle.path).serve(bundle, OnnxRuntimeEngine())
        warm(served, Costs(), Stretch())
        assert len(patience_s) > 1
        assert min(patience_s) >= 60.0
        patience_s.clear()
        item = tiny_bundle.items[0]
        passage = Passage(FRAME, 0.0, time.monotonic() + 1000.0, 0, item)
        assert not served.away([passage])
        assert patience_s[0] <= 500.0


def test_noise_among_payloads_fails_alone(tiny_bundle: TinyBundle) -> None:
    with Bundle.open(tiny_bundle.path) as bundle:
        tag = bundle.tag
        raw = [level.codec for level in bundle.manifest.cuts[0].levels].index("raw")
    sound = Asked(0, raw, tiny_bundle.items[0].tobytes())
    first, noise, last = Here(tiny_bundle.path).tail(tag, [sound, Asked(1, 0, b"\xff" * 9), sound])
    assert isinstance(noise, Failed)
    assert noise.undecodable
    assert isinstance(first, Done)
    assert isinstance(last, Done)
    for answer in (first, last):
        truth = whole(tiny_bundle.whole, tiny_bundle.items[0])
        np.testing.assert_allclose(answer.outputs[0].array(), truth, atol=1e-4)


def test_a_worker_with_another_bundle_than_the_tier_does_not_start(tiny_bundle: TinyBundle) -> None:
    with pytest.raises(BundleInvalid, match="give every machine of the cluster the same bundle"):
        Tail([(tiny_bundle.path, bytes(32))], "onnxruntime", 1)
