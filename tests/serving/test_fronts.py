"""A tier that gets the front of a payload answers as the model does on what is known of it, or says that it cannot."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from protocol.errors import Code
from protocol.messages import Frame, Handover, Refusal, Result
from runtime.codecs import LearnedCodec
from runtime.codecs.parts import Parts
from tests.runtime.tiny_bundle import TinyBundle
from tests.serving.tiers import Device, Running, a_device, a_tier, logits_of
from transport.stream import Request


def front_of(frame: Frame, kept: int) -> Frame:
    """The frame as a session tells of it when its payload was cut short."""
    payload = frame.payload[:kept]
    cut = Frame.build(
        id=frame.id, bundle=frame.bundle, cut=frame.cut, level=frame.level, shape=frame.shape, payload=payload,
        remaining_us=frame.remaining_us, handover=frame.handover,
    )  # fmt: skip
    return replace(cut, is_front=True)


async def answer(running: Running, frame: Frame) -> Result | Refusal:
    return await running.tier(Request(frame, "device", running.tier._clock()))


def expected(device: Device, frame: Frame) -> NDArray[np.float32]:
    """Logits of the rest of the model on what the front restores."""
    codec = device.codecs.at(frame.cut, frame.level)
    assert isinstance(codec, LearnedCodec)
    logits: NDArray[np.float32] = device.stage.run(Parts(codec).front(frame.payload), frame.cut)[0][0]
    return logits


async def test_fronts_are_answered_from_what_has_come(tiny_bundle: TinyBundle) -> None:
    async with a_tier("edge", tiny_bundle.path) as edge, a_device(tiny_bundle.path, edge.dial) as device:
        for item, share in zip(tiny_bundle.items, (0.3, 0.7), strict=False):
            whole = device.frame(item, 1, 2)
            front = front_of(whole, round(share * len(whole.payload)))
            result = await answer(edge, front)
            assert isinstance(result, Result)
            np.testing.assert_allclose(logits_of(result), expected(device, front), atol=1e-4)
            beside = await device.answer(whole)
            assert np.abs(logits_of(beside) - logits_of(result)).max() > 1e-3


@pytest.mark.slow
async def test_a_front_goes_up_as_a_whole_payload(tiny_bundle: TinyBundle) -> None:
    path = tiny_bundle.path
    async with (
        a_tier("cloud", path) as cloud,
        a_tier("edge", path, cloud.dial) as edge,
        a_device(path, edge.dial) as device,
    ):
        whole = device.frame(tiny_bundle.items[0], 1, 2, handover=Handover(1, 2))
        front = front_of(whole, len(whole.payload) // 2)
        result = await answer(edge, front)
        assert isinstance(result, Result)
        assert (result.answered_by, result.timings.upstream_us > 0) == ("cloud", True)
        again = device.codecs.at(1, 2)
        codec = device.codecs.at(front.cut, front.level)
        assert isinstance(codec, LearnedCodec)
        restored = again.decode(again.encode(Parts(codec).front(front.payload)))
        np.testing.assert_allclose(logits_of(result), device.stage.run(restored, 1)[0][0], atol=1e-4)


async def test_what_cannot_be_read_without_its_end_is_refused(tiny_bundle: TinyBundle) -> None:
    async with a_tier("edge", tiny_bundle.path) as edge, a_device(tiny_bundle.path, edge.dial) as device:
        raw = device.frame(tiny_bundle.items[0], 1)
        learned = device.frame(tiny_bundle.items[0], 1, 2)
        for front in (front_of(raw, 100), front_of(learned, 0), front_of(learned, 2)):
            refusal = await answer(edge, front)
            assert isinstance(refusal, Refusal)
            assert refusal.code is Code.UNDECODABLE
