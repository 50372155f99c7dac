"""Each kind of bad frame gets its own code within its stream, and other streams notice nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from protocol import isthmus_pb2 as pb
from protocol.errors import Code
from protocol.messages import Frame, Handover, Hello, Refusal, Result, encode_upward
from tests.runtime.tiny_bundle import TinyBundle
from tests.serving.tiers import Device, a_device, a_tier
from tests.transport.raw_stream import raw_stream


def _rebuilt(frame: Frame, payload: bytes) -> Frame:
    """With another payload, and a checksum that fits it."""
    fresh = Frame.build(
        id=frame.id, bundle=frame.bundle, cut=frame.cut, level=frame.level, shape=frame.shape, payload=payload
    )
    return replace(fresh, remaining_us=frame.remaining_us)


def _flipped(payload: bytes) -> bytes:
    return payload[:10] + bytes([payload[10] ^ 4]) + payload[11:]


def _bound(device: Device, frame: Frame) -> int:
    return device.codecs.at(frame.cut, frame.level).max_payload_bytes


Spoil = Callable[[Device, Frame], Frame]
SPOILT: dict[str, tuple[Code, Spoil]] = {
    "bit flipped": (Code.CHECKSUM, lambda device, frame: replace(frame, payload=_flipped(frame.payload))),
    "truncated on the way": (Code.CHECKSUM, lambda device, frame: replace(frame, payload=frame.payload[:-3])),
    "truncated before": (Code.UNDECODABLE, lambda device, frame: _rebuilt(frame, payload=frame.payload[:-3])),
    "over-long": (
        Code.TOO_LONG,
        lambda device, frame: _rebuilt(frame, payload=frame.payload + bytes(_bound(device, frame))),
    ),
    "no bitstream": (Code.UNDECODABLE, lambda device, frame: _rebuilt(frame, payload=b"\xff" * len(frame.payload))),
    "wrong digest": (Code.UNKNOWN_BUNDLE, lambda device, frame: replace(frame, bundle=frame.bundle ^ 1)),
    "wrong shape": (Code.WRONG_SHAPE, lambda device, frame: replace(frame, shape=(1, *frame.shape))),
    "another order of axes": (Code.WRONG_SHAPE, lambda device, frame: replace(frame, shape=frame.shape[::-1])),
    "unknown cut": (Code.UNKNOWN_CUT, lambda device, frame: replace(frame, cut=3)),
    "unknown level": (Code.UNKNOWN_CUT, lambda device, frame: replace(frame, level=99)),
    "handover backwards": (Code.UNKNOWN_CUT, lambda device, frame: replace(frame, handover=Handover(0, 0))),
    "handover beyond": (Code.UNKNOWN_CUT, lambda device, frame: replace(frame, handover=Handover(3, 0))),
    "handover at no level": (Code.UNKNOWN_CUT, lambda device, frame: replace(frame, handover=Handover(2, 77))),
    "time passed": (Code.EXPIRED, lambda device, frame: replace(frame, remaining_us=0)),
    "impossible shape": (Code.MALFORMED, lambda device, frame: replace(frame, shape=(1,) * 9)),
}


@pytest.mark.parametrize("kind", SPOILT)
async def test_a_bad_frame_gets_its_own_code_and_the_streams_go_on(tiny_bundle: TinyBundle, kind: str) -> None:
    code, spoil = SPOILT[kind]
    item = tiny_bundle.items[0]
    async with (
        a_tier("edge", tiny_bundle.path) as edge,
        a_device(tiny_bundle.path, edge.dial) as device,
        raw_stream(edge.server.port) as stream,
    ):
        await stream.greet(device.bundle.digest)
        good = device.frame(item, 1, level=1)
        await stream.write(_encoded(spoil(device, good)))
        refusal = await stream.read()
        assert isinstance(refusal, Refusal)
        assert (refusal.id, refusal.code) == (good.id, code)
        assert str(Path.cwd()) not in refusal.detail
        await stream.write(encode_upward(good))
        result = await stream.read()
        assert isinstance(result, Result)
        assert result.id == good.id
        await device.answer(device.frame(item, 2))


@pytest.mark.parametrize("cut", [0, 1, 2])
async def test_no_level_answers_a_payload_of_noise(tiny_bundle: TinyBundle, cut: int) -> None:
    async with a_tier("edge", tiny_bundle.path) as edge, a_device(tiny_bundle.path, edge.dial) as device:
        for level, declared in enumerate(device.bundle.manifest.cuts[cut].levels):
            good = device.frame(tiny_bundle.items[0], cut, level)
            length = len(good.payload) - (declared.codec == "raw")
            answer = await device.ask(_rebuilt(good, payload=bytes([165] * length)))
            assert isinstance(answer, Refusal), declared
            assert answer.code is Code.UNDECODABLE, declared


async def test_a_bundle_that_the_hello_did_not_name_is_unknown(tiny_bundle: TinyBundle) -> None:
    async with (
        a_tier("edge", tiny_bundle.path) as edge,
        a_device(tiny_bundle.path, edge.dial) as device,
        raw_stream(edge.server.port) as stream,
    ):
        await stream.write(encode_upward(Hello("forgetful")))
        await stream.read()
        await stream.write(encode_upward(device.frame(tiny_bundle.items[0], 1)))
        refusal = await stream.read()
        assert isinstance(refusal, Refusal)
        assert refusal.code is Code.UNKNOWN_BUNDLE


def _encoded(frame: Frame) -> bytes:
    """As bytes, even where our own side would refuse to send it."""
    message = pb.Upward()
    out = message.frame
    out.id, out.bundle, out.cut, out.level, out.crc32c = frame.id, frame.bundle, frame.cut, frame.level, frame.crc32c
    out.shape.extend(frame.shape)
    out.payload = frame.payload
    out.remaining_us = frame.remaining_us
    if frame.handover is not None:
        out.handover.cut, out.handover.level = frame.handover.cut, frame.handover.level
        out.handover.SetInParent()
    data: bytes = message.SerializeToString()
    return data
