"""Through real sockets and both tiers, the split model says what the whole one says."""

from __future__ import annotations

import numpy as np

from protocol.messages import Handover
from tests.runtime.tiny_bundle import TinyBundle
from tests.serving.tiers import a_device, a_tier, logits_of, whole


async def test_every_cut_answered_by_either_tier_equals_the_whole_model(tiny_bundle: TinyBundle) -> None:
    for name in ("edge", "cloud"):
        async with a_tier(name, tiny_bundle.path) as tier, a_device(tiny_bundle.path, tier.dial) as device:
            for cut in range(3):
                for item in tiny_bundle.items[:2]:
                    result = await device.answer(device.frame(item, cut))
                    assert result.answered_by == name
                    np.testing.assert_allclose(logits_of(result), whole(tiny_bundle.whole, item), atol=1e-4)


async def test_every_handover_equals_the_whole_model_and_is_answered_by_the_cloud(tiny_bundle: TinyBundle) -> None:
    item = tiny_bundle.items[0]
    truth = whole(tiny_bundle.whole, item)
    async with (
        a_tier("cloud", tiny_bundle.path) as cloud,
        a_tier("edge", tiny_bundle.path, cloud.dial) as edge,
        a_device(tiny_bundle.path, edge.dial) as device,
    ):
        pairs = [(first, second) for first in range(3) for second in range(first, 3)]
        for first, second in pairs:
            result = await device.answer(device.frame(item, first, handover=Handover(second, device.raw_level(second))))
            assert result.answered_by == "cloud", (first, second)
            np.testing.assert_allclose(logits_of(result), truth, atol=1e-4)
            times = result.timings
            assert times.upstream_us > 0
            assert times.total_us >= times.upstream_us + times.decode_us + times.run_us
            assert (times.run_us > 0) is (first < second)


async def test_every_level_gives_what_decoding_it_here_gives(tiny_bundle: TinyBundle) -> None:
    item = tiny_bundle.items[1]
    async with a_tier("edge", tiny_bundle.path) as edge, a_device(tiny_bundle.path, edge.dial) as device:
        for cut in device.bundle.manifest.cuts:
            for level in range(len(cut.levels)):
                frame = device.frame(item, cut.index, level)
                decoded = device.codecs.at(cut.index, level).decode(frame.payload)
                expected = device.stage.run(decoded, cut.index)[0][0]
                np.testing.assert_allclose(logits_of(await device.answer(frame)), expected, atol=1e-5)


async def test_a_handover_at_the_frames_own_cut_but_another_level_is_encoded_anew(tiny_bundle: TinyBundle) -> None:
    item = tiny_bundle.items[2]
    async with (
        a_tier("cloud", tiny_bundle.path) as cloud,
        a_tier("edge", tiny_bundle.path, cloud.dial) as edge,
        a_device(tiny_bundle.path, edge.dial) as device,
    ):
        result = await device.answer(device.frame(item, 1, handover=Handover(1, 0)))
        features = device.stage.run(item, 0, 1)[0]
        small = device.codecs.at(1, 0)
        expected = device.stage.run(small.decode(small.encode(features)), 1)[0][0]
        np.testing.assert_allclose(logits_of(result), expected, atol=1e-5)
        assert result.answered_by == "cloud"
