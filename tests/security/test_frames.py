"""Frames of a caller that means harm, against a real tier: the code it gets, what it learns, and that others go on."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import zstandard
from google_crc32c import value as crc32c
from PIL import Image

from protocol import isthmus_pb2 as pb
from protocol.chunks import Chunk, encode_chunk
from protocol.errors import Code
from protocol.messages import Frame, Hello, Probe, Received, Refusal, Result, encode_upward
from protocol.packing import pack
from tests.runtime.tiny_bundle import TinyBundle
from tests.security.raw_messages import field, hello, varint
from tests.security.replies import assert_says_little
from tests.serving.tiers import Device, Running, a_device, a_tier
from tests.transport.raw_stream import raw_stream

pytestmark = pytest.mark.asyncio(loop_scope="module")

PICTURE = (32, 32)
RED = Image.new("RGB", PICTURE, "red")


@dataclass(frozen=True)
class Target:
    """A running tier, and a device of good manners beside the attacker."""

    tier: Running
    device: Device
    item: Any

    def good(self, cut: int = 1, level: int | None = None) -> Frame:
        return self.device.frame(self.item, cut, level)

    def level(self, cut: int, codec: str, nth: int = 0) -> int:
        levels = self.device.bundle.manifest.cuts[cut].levels
        return [number for number, level in enumerate(levels) if level.codec == codec][nth]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(tiny_bundle: TinyBundle) -> AsyncIterator[Target]:
    async with a_tier("edge", tiny_bundle.path) as tier, a_device(tiny_bundle.path, tier.dial) as device:
        yield Target(tier, device, tiny_bundle.items[0])


def raw(frame: Frame, **changes: Any) -> bytes:
    """The frame's bytes with fields changed, its checksum made right, and nothing checked."""
    fields = {
        name: getattr(frame, name)
        for name in ("id", "bundle", "cut", "level", "payload", "captured_us", "remaining_us", "trace")
    }
    fields |= {"shape": list(frame.shape)} | changes
    fields.setdefault("crc32c", int(crc32c(fields["payload"])))
    return bytes(pb.Upward(frame=pb.Frame(**fields)).SerializeToString())


Make = Callable[[Target], bytes]


def changed(**changes: Any) -> Make:
    return lambda target: raw(target.good(), **changes)


def of_level(cut: int, codec: str, spoil: Callable[[bytes], bytes], nth: int = 0) -> Make:
    """A frame of that codec with its payload spoilt."""

    def make(target: Target) -> bytes:
        frame = target.good(cut, target.level(cut, codec, nth))
        return raw(frame, payload=spoil(frame.payload))

    return make


def with_extra(content: bytes) -> Make:
    """More bytes inside the frame's message."""
    return lambda target: field(2, pb.Upward.FromString(raw(target.good())).frame.SerializeToString() + content)


def picture(format: str, size: tuple[int, int] = PICTURE, mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, format, **options)
    return file.getvalue()


def jpeg_that_claims(width: int, height: int) -> bytes:
    content = bytearray(picture("jpeg"))
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def webp_that_claims(width: int, height: int) -> bytes:
    content = bytearray(picture("webp"))
    struct.pack_into("<HH", content, 26, width, height)
    return bytes(content)


def zstd_that_claims(nbytes: int) -> bytes:
    """A frame header with an 8-byte content size, and one empty last block."""
    return b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", nbytes) + b"\x01\x00\x00"


SHAPES: dict[str, tuple[Code, Make]] = {
    "a dimension of zero": (Code.MALFORMED, changed(shape=[0, 16, 16])),
    "a dimension beyond the limit": (Code.MALFORMED, changed(shape=[(1 << 20) + 1])),
    "the largest dimension of 32 bits": (Code.MALFORMED, changed(shape=[0xFFFFFFFF, 16, 16])),
    "a negative dimension": (Code.MALFORMED, with_extra(b"\x28" + varint((1 << 64) - 1))),
    "a product that overflows 64 bits": (Code.MALFORMED, changed(shape=[1 << 20] * 4)),
    "a product that overflows 32 bits to 0": (Code.MALFORMED, changed(shape=[1 << 16, 1 << 16])),
    "a product one beyond the limit": (Code.MALFORMED, changed(shape=[(1 << 20), 65])),
    "nine axes": (Code.MALFORMED, changed(shape=[1] * 9)),
    "a thousand axes": (Code.MALFORMED, changed(shape=[1] * 1000)),
    "no axes": (Code.WRONG_SHAPE, changed(shape=[])),
    "a batch smuggled in": (Code.WRONG_SHAPE, changed(shape=[2, 8, 16, 16])),
    "axes exchanged": (Code.WRONG_SHAPE, changed(shape=[16, 16, 8])),
    "as many elements in another shape": (Code.WRONG_SHAPE, changed(shape=[2048])),
    "the largest legal shape": (Code.WRONG_SHAPE, changed(shape=[1 << 13, 1 << 13])),
}
HEADERS: dict[str, tuple[Code, Make]] = {
    "another bundle's tag": (Code.UNKNOWN_BUNDLE, changed(bundle=1)),
    "a tag off by one bit": (Code.UNKNOWN_BUNDLE, lambda target: raw(target.good(), bundle=target.good().bundle ^ 1)),
    "a cut beyond the last": (Code.UNKNOWN_CUT, changed(cut=3)),
    "the largest cut": (Code.UNKNOWN_CUT, changed(cut=0xFFFFFFFF)),
    "a level beyond the last": (Code.UNKNOWN_CUT, changed(level=64)),
    "the largest level": (Code.UNKNOWN_CUT, changed(level=0xFFFFFFFF)),
    "a handover backwards": (Code.UNKNOWN_CUT, changed(handover=pb.Handover(cut=0, level=0))),
    "a handover beyond the last cut": (Code.UNKNOWN_CUT, changed(handover=pb.Handover(cut=3, level=0))),
    "a handover at no level": (Code.UNKNOWN_CUT, changed(handover=pb.Handover(cut=2, level=0xFFFFFFFF))),
    "a wrong checksum": (Code.CHECKSUM, changed(crc32c=0)),
    "a trace of 23 bytes": (Code.MALFORMED, changed(trace=bytes(23))),
    "a trace of 25 bytes": (Code.MALFORMED, changed(trace=bytes(25))),
    "a trace of a megabyte": (Code.MALFORMED, changed(trace=bytes(1 << 20))),
    "no time left": (Code.EXPIRED, changed(remaining_us=0)),
    "four million empty fields": (Code.MALFORMED, with_extra(b"\x52\x00" * (4 << 20 >> 1))),
    "half a million shapes": (Code.MALFORMED, with_extra(b"\x28\x01" * (1 << 19))),
    "a packed shape of a megabyte": (Code.MALFORMED, with_extra(field(5, b"\x01" * (1 << 20)))),
    "an unknown field of a megabyte": (Code.MALFORMED, with_extra(field(99, bytes(1 << 20)))),
    "two payloads, one long": (Code.MALFORMED, lambda target: field(2, b"\x08\x07" + field(6, bytes(50_000)) * 2)),
    "a length beyond the end": (Code.MALFORMED, lambda target: b"\x12\x7f\x08\x07\x32\x7fpayload"),
}  # fmt: skip
PAYLOADS: dict[str, tuple[Code, Make]] = {
    "raw, empty": (Code.UNDECODABLE, of_level(1, "raw", lambda payload: b"")),
    "raw, a byte less": (Code.UNDECODABLE, of_level(1, "raw", lambda payload: payload[:-1])),
    "raw, a byte more": (Code.TOO_LONG, of_level(1, "raw", lambda payload: payload + b"x")),
    "raw, a megabyte more": (Code.TOO_LONG, of_level(1, "raw", lambda payload: payload + bytes(1 << 20))),
    "zstd, empty": (Code.UNDECODABLE, of_level(1, "zstd", lambda payload: b"")),
    "zstd, noise": (Code.UNDECODABLE, of_level(1, "zstd", lambda payload: b"\xa5" * 100)),
    "zstd, cut short": (Code.UNDECODABLE, of_level(1, "zstd", lambda payload: payload[:-4])),
    "zstd, a second frame behind": (Code.UNDECODABLE, of_level(1, "zstd", lambda payload: payload[:200] * 2)),
    "zstd, a bomb of 64 MiB": (
        Code.UNDECODABLE,
        of_level(1, "zstd", lambda _: zstandard.ZstdCompressor().compress(bytes(1 << 26))),
    ),
    "zstd, a bomb that does not say its size": (
        Code.UNDECODABLE,
        of_level(1, "zstd", lambda _: zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1 << 26))),
    ),
    "zstd, a claim of an exabyte": (Code.UNDECODABLE, of_level(1, "zstd", lambda _: zstd_that_claims(1 << 60))),
    "zstd, a header that claims one byte more": (
        Code.UNDECODABLE,
        of_level(1, "zstd", lambda _: zstd_that_claims(8 * 16 * 16 * 4 + 1)),
    ),
    "zstd, the right claim and no content": (Code.UNDECODABLE, of_level(1, "zstd", lambda _: zstd_that_claims(8192))),
    "zstd, a dictionary asked for": (
        Code.UNDECODABLE,
        of_level(1, "zstd", lambda _: b"\x28\xb5\x2f\xfd\x63\7\0\0\0" + struct.pack("<H", 8192 - 256) + b"\1\0\0"),
    ),
    "gzip instead of zstd": (Code.UNDECODABLE, of_level(1, "zstd", lambda payload: zlib.compress(payload)[:100])),
    "jpeg, empty": (Code.UNDECODABLE, of_level(0, "image", lambda _: b"", nth=1)),
    "jpeg, noise": (Code.UNDECODABLE, of_level(0, "image", lambda _: b"\xff\xd8" + b"\xa5" * 300, nth=1)),
    "jpeg, cut short": (Code.UNDECODABLE, of_level(0, "image", lambda payload: payload[: len(payload) // 2], nth=1)),
    "jpeg that claims 60,000 pixels a side": (
        Code.UNDECODABLE,
        of_level(0, "image", lambda _: jpeg_that_claims(60_000, 60_000), nth=1),
    ),
    "jpeg of one row more": (Code.UNDECODABLE, of_level(0, "image", lambda _: picture("jpeg", (32, 33)), nth=1)),
    "jpeg in grey": (Code.UNDECODABLE, of_level(0, "image", lambda _: picture("jpeg", mode="L"), nth=1)),
    "jpeg of four inks": (Code.UNDECODABLE, of_level(0, "image", lambda _: picture("jpeg", mode="CMYK"), nth=1)),
    "png for jpeg": (Code.UNDECODABLE, of_level(0, "image", lambda _: picture("png"), nth=1)),
    "tiff for jpeg": (Code.UNDECODABLE, of_level(0, "image", lambda _: picture("tiff"), nth=1)),
    "postscript for jpeg": (Code.UNDECODABLE, of_level(0, "image", lambda _: b"%!PS-Adobe-3.0\n(/bin/sh) run", nth=1)),
    "webp, noise": (Code.UNDECODABLE, of_level(0, "image", lambda _: b"RIFF\x64\0\0\0WEBPVP8 " + b"\xa5" * 90)),
    "webp that claims 16,383 pixels a side": (
        Code.UNDECODABLE,
        of_level(0, "image", lambda _: webp_that_claims(16383, 16383)),
    ),
    "webp, lossless": (Code.UNDECODABLE, of_level(0, "image", lambda _: picture("webp", lossless=True))),
    "webp, moving": (
        Code.UNDECODABLE,
        of_level(0, "image", lambda _: picture("webp", save_all=True, append_images=[RED])),
    ),
    "webp, cut short": (Code.UNDECODABLE, of_level(0, "image", lambda payload: payload[:40])),
    "learned, empty": (Code.UNDECODABLE, of_level(1, "learned", lambda _: b"")),
    "learned, one byte": (Code.UNDECODABLE, of_level(1, "learned", lambda payload: payload[:1])),
    "learned, cut short": (Code.UNDECODABLE, of_level(1, "learned", lambda payload: payload[:-1])),
    "learned, a byte more": (Code.UNDECODABLE, of_level(1, "learned", lambda payload: payload + b"\0")),
    "learned, noise": (Code.UNDECODABLE, of_level(1, "learned", lambda payload: b"\xa5" * len(payload))),
    "learned, zeros": (Code.UNDECODABLE, of_level(1, "learned", lambda payload: bytes(len(payload)))),
    "learned, a later format": (Code.UNDECODABLE, of_level(1, "learned", lambda payload: b"\x7f" + payload[1:])),
    "learned, beyond its bound": (Code.TOO_LONG, of_level(1, "learned", lambda payload: payload + bytes(8000))),
    "learned, another level's payload": (
        Code.UNDECODABLE,
        lambda target: raw(target.good(1, 0), payload=target.good(1, target.level(1, "zstd")).payload[:100]),
    ),
}  # fmt: skip
ATTACKS = SHAPES | HEADERS | PAYLOADS


@pytest.mark.parametrize("name", ATTACKS)
async def test_a_hostile_frame_is_refused_and_the_service_still_answers(target: Target, name: str) -> None:
    code, make = ATTACKS[name]
    async with raw_stream(target.tier.server.port) as stream:
        await stream.greet(target.device.bundle.digest)
        await stream.write(make(target))
        refusal = await stream.read()
        assert_says_little(refusal)
        assert isinstance(refusal, Refusal)
        assert refusal.code is code, refusal
        await target.device.answer(target.good(2))
        if refusal.id:
            good = target.good()
            await stream.write(encode_upward(good))
            answer = await stream.read()
            assert isinstance(answer, Result), answer
            assert answer.id == good.id


STREAMS: dict[str, bytes] = {
    "a second hello": hello(),
    "noise": b"\xff" * 30,
    "nothing": b"",
    "an unknown kind": field(77, b"?"),
    "a probe with 5000 bytes of filler": field(4, b"\x08\x01" + field(2, bytes(5000))),
    "a result, which only tiers send": field(2, b"\x12\x00"),
    "frame 0": field(2, b"\x08\x00"),
    "a pack in a pack": pack([pack([hello(), hello()]), hello()]),
    "an empty pack": b"\x2a\x00",
    "a pack of 65": field(5, field(1, b"\x22\x00") * 65),
    "a pack with noise": pack([encode_upward(Probe(1)), b"\xff"]),
    "a pack with something else": field(5, b"\x08\x01"),
    "a chunk of nothing": field(6, b"\x08\x01"),
    "a chunk of frame 0": field(6, b"\x10\x09\x2a\x01x"),
    "a chunk from the middle": field(6, b"\x08\x01\x10\x09\x18\x05\x2a\x01x"),
    "a chunk of a message of 4 GiB": field(6, b"\x08\x01\x10" + varint((1 << 32) - 1) + b"\x2a\x01x"),
    "a chunk beyond its message": field(6, b"\x08\x01\x10\x01\x2a\x02xy"),
    "a chunk that overflows 64 bits": field(6, b"\x08\x01\x10\x09\x18" + varint((1 << 64) - 1) + b"\x2a\x02xy"),
    "a chunk with a megabyte before it": field(6, b"\x08\x01" * (1 << 19) + b"\x10\x09\x2a\x01x"),
    "chunks that are a hello": pack([encode_chunk(Chunk(1, len(hello()), 0, hello()))]),
    "chunks within a chunk": encode_chunk(Chunk(1, 18, 0, encode_chunk(Chunk(1, 9, 0, b"wheels")))),
    "17 frames that are never finished": pack([encode_chunk(Chunk(number, 9, 0, b"x")) for number in range(1, 18)]),
}


@pytest.mark.parametrize("name", STREAMS)
async def test_bytes_that_name_no_frame_end_their_stream_only(target: Target, name: str) -> None:
    async with raw_stream(target.tier.server.port) as stream:
        await stream.greet(target.device.bundle.digest)
        await stream.write(STREAMS[name])
        reply = await stream.read()
        while isinstance(reply, Probe | Received):
            reply = await stream.read()
        assert_says_little(reply)
        assert isinstance(reply, Refusal)
        assert (reply.id, reply.code) == (0, Code.MALFORMED)
        assert await stream.read() is None
        await target.device.answer(target.good())


async def test_a_frame_of_a_bundle_that_the_hello_did_not_name_is_refused(target: Target) -> None:
    async with raw_stream(target.tier.server.port) as stream:
        await stream.write(encode_upward(Hello("forgetful")))
        await stream.read()
        await stream.write(encode_upward(target.good()))
        refusal = await stream.read()
        assert_says_little(refusal)
        assert isinstance(refusal, Refusal)
        assert refusal.code is Code.UNKNOWN_BUNDLE


async def test_a_frame_sent_again_while_unanswered_is_refused_and_not_run_twice(target: Target) -> None:
    async with raw_stream(target.tier.server.port) as stream:
        await stream.greet(target.device.bundle.digest)
        good = encode_upward(target.good())
        await stream.write(pack([good] * 3))
        answers = [await stream.read() for _ in range(3)]
        refusals = [answer for answer in answers if isinstance(answer, Refusal)]
        assert [refusal.code for refusal in refusals] == [Code.MALFORMED] * 2
        for refusal in refusals:
            assert_says_little(refusal)


async def test_answers_go_to_the_stream_that_asked_even_with_equal_ids(target: Target) -> None:
    port = target.tier.server.port
    async with raw_stream(port) as one, raw_stream(port) as other:
        await one.greet(target.device.bundle.digest)
        await other.greet(target.device.bundle.digest)
        mine = target.good(1)
        await one.write(encode_upward(mine))
        await other.write(raw(target.good(2), id=mine.id, payload=b""))
        answer, refusal = await one.read(), await other.read()
        assert isinstance(answer, Result)
        assert isinstance(refusal, Refusal)
        assert np.isfinite(answer.outputs[0].array()).all()
