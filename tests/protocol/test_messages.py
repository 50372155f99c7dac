from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import google_crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import isthmus_pb2 as pb
from protocol import limits
from protocol.errors import Code, LocalProtocolError, RemoteProtocolError
from protocol.messages import (
    Cancel,
    Frame,
    Handover,
    Hello,
    Load,
    Probe,
    Refusal,
    Result,
    Tensor,
    Timings,
    Welcome,
    decode_downward,
    decode_upward,
    encode_downward,
    encode_upward,
)
from tests.protocol.samples import DIGEST, frame

RESULT = Result(7, (Tensor.of("logits", np.arange(10, dtype=np.float32)),), "edge", Timings(1, 2, 3, 4, 5), Load(6, 7))
WELCOME = Welcome("edge", (DIGEST,), 32, 1000, Load(1, 2))

u32, u64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
loads = st.builds(Load, u32, u32)
frames = st.builds(
    Frame,
    id=st.integers(1, 2**64 - 1),
    bundle=u64,
    cut=u32,
    level=u32,
    shape=st.lists(st.integers(1, 9), max_size=8).map(tuple),
    payload=st.binary(max_size=100),
    crc32c=u32,
    captured_us=u64,
    remaining_us=u32,
    handover=st.none() | st.builds(Handover, u32, u32),
    trace=st.sampled_from([b"", bytes(range(24))]),
)
probes = st.builds(Probe, u64, st.binary(max_size=99))
names = st.text(st.characters(categories=["L", "N", "P"]), max_size=64)


@settings(max_examples=100, deadline=None)
@given(
    frames
    | st.builds(Cancel, u64)
    | st.builds(Probe, u64, st.binary(max_size=99))
    | st.builds(Hello, names, st.just((DIGEST,)), u32)
)
def test_upward_messages_come_out_as_they_went_in(message: Any) -> None:
    assert decode_upward(encode_upward(message)) == message


refusals = st.builds(Refusal, u64, st.sampled_from(Code), names, u32, loads)


@settings(max_examples=100, deadline=None)
@given(refusals | st.builds(Probe, u64) | st.just(RESULT) | st.just(WELCOME))
def test_downward_messages_come_out_as_they_went_in(message: Any) -> None:
    assert decode_downward(encode_downward(message)) == message


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_give_a_message_or_the_peers_error(data: bytes) -> None:
    for decode in (decode_upward, decode_downward):
        with suppress(RemoteProtocolError):
            decode(data)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_changed_bytes_give_a_message_or_the_peers_error(data: st.DataObject) -> None:
    for decode, good in ((decode_upward, encode_upward(frame())), (decode_downward, encode_downward(RESULT))):
        changed = bytearray(good)
        for _ in range(data.draw(st.integers(1, 4))):
            changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
        with suppress(RemoteProtocolError):
            decode(bytes(changed))


def test_the_checksum_is_the_crc_32c_of_the_payload() -> None:
    good = frame(payload=b"123456789")
    assert good.crc32c == 0xE3069283  # the check value of CRC-32C in RFC 3720's notation
    assert good.crc32c == google_crc32c.value(b"123456789")
    good.verify()
    with pytest.raises(RemoteProtocolError) as caught:
        replace(good, payload=b"123456788").verify()
    assert (caught.value.code, caught.value.frame_id) == (Code.CHECKSUM, 7)


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"shape": (1,) * 9}, "axes"),
    ({"shape": (4, 0)}, "dimension"),
    ({"shape": (limits.MAX_DIMENSION + 1,)}, "dimension"),
    ({"shape": (1 << 20,) * 8}, "elements"),
    ({"trace": bytes(23)}, "trace"),
    ({"payload": bytes(limits.MAX_PAYLOAD_BYTES + 1)}, "payload"),
]


@pytest.mark.parametrize(("change", "word"), FAULTS)
def test_a_frame_outside_the_limits_is_refused_by_its_id(change: dict[str, Any], word: str) -> None:
    bad = replace(frame(), **change)
    with pytest.raises(LocalProtocolError, match=word):
        encode_upward(bad)
    with pytest.raises(RemoteProtocolError, match=word) as caught:
        decode_upward(_unchecked(bad))
    assert (caught.value.code, caught.value.frame_id) == (Code.MALFORMED, 7)


@pytest.mark.parametrize(
    "change",
    [{"id": 0}, {"id": -1}, {"id": 2**64}, {"bundle": 2**64}, {"cut": -1}, {"remaining_us": 2**32}, {"crc32c": -1}],
)
def test_our_own_frames_are_held_to_the_field_widths(change: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError):
        encode_upward(replace(frame(), **change))


def test_a_probe_takes_its_filler_up_and_not_back() -> None:
    filled = Probe(7, bytes(limits.MAX_FILLER_BYTES))
    assert decode_upward(encode_upward(filled)) == filled
    assert decode_downward(encode_downward(filled)) == Probe(7)
    with pytest.raises(LocalProtocolError, match="filler"):
        encode_upward(Probe(7, bytes(limits.MAX_FILLER_BYTES + 1)))


@pytest.mark.parametrize(
    "hello",
    [
        Hello("x" * 65),
        Hello("line\nbreak"),
        Hello("device", (bytes(31),)),
        Hello("device", (DIGEST,) * 65),
    ],
)
def test_a_hello_outside_the_limits_is_malformed(hello: Hello) -> None:
    with pytest.raises(LocalProtocolError):
        encode_upward(hello)
    raw = pb.Upward(hello=pb.Hello(version=1, sender=hello.sender, bundles=hello.bundles)).SerializeToString()
    with pytest.raises(RemoteProtocolError):
        decode_upward(raw)


@pytest.mark.parametrize(
    "welcome",
    [
        replace(WELCOME, credits=0),
        replace(WELCOME, credits=limits.MAX_CREDITS + 1),
        replace(WELCOME, max_payload_bytes=0),
        replace(WELCOME, max_payload_bytes=limits.MAX_PAYLOAD_BYTES + 1),
        replace(WELCOME, tier="x" * 65),
        replace(WELCOME, bundles=(b"short",)),
    ],
)
def test_a_welcome_outside_the_limits_is_malformed(welcome: Welcome) -> None:
    with pytest.raises(LocalProtocolError):
        encode_downward(welcome)
    raw = pb.Welcome(version=1, tier=welcome.tier, bundles=welcome.bundles, credits=welcome.credits)
    raw.max_payload_bytes = welcome.max_payload_bytes
    with pytest.raises(RemoteProtocolError):
        decode_downward(pb.Downward(welcome=raw).SerializeToString())


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor("t", "float32", (3,), bytes(11)),
        Tensor("t", "float32", (1 << 20,) * 8, b""),
        Tensor("t", "object", (1,), bytes(8)),
        Tensor("t", "float32", (1,) * 9, bytes(4)),
        Tensor("t" * 257, "uint8", (1,), bytes(1)),
        Tensor("t", "uint8", (1 << 21,), bytes(1 << 21)),
    ],
)
def test_a_tensor_whose_bytes_do_not_fit_its_shape_is_malformed(tensor: Tensor) -> None:
    with pytest.raises(LocalProtocolError):
        encode_downward(Result(3, (tensor,), "edge"))
    raw = pb.Tensor(name=tensor.name, dtype=tensor.dtype, shape=tensor.shape, data=tensor.data)
    with pytest.raises(RemoteProtocolError) as caught:
        decode_downward(pb.Downward(result=pb.Result(id=3, outputs=[raw])).SerializeToString())
    assert caught.value.frame_id == 3


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_arrays_of_every_type_and_byte_order_survive(dtype: str, order: str) -> None:
    array = np.arange(12).reshape(3, 4).astype(np.dtype(dtype).newbyteorder(order))[:, ::2]
    tensor = Tensor.of("t", array)
    assert np.array_equal(tensor.array(), array)
    assert tensor.array().dtype.name == dtype
    assert Tensor.of("t", np.zeros((0, 3), dtype)).array().shape == (0, 3)


def test_an_array_of_objects_cannot_be_sent() -> None:
    with pytest.raises(LocalProtocolError, match="cannot be sent"):
        Tensor.of("t", np.array([object()]))


def test_a_code_of_a_later_version_reads_as_unspecified() -> None:
    raw = pb.Downward(refusal=pb.Refusal(id=4, code=99)).SerializeToString()  # type: ignore[arg-type, unused-ignore]
    assert decode_downward(raw) == Refusal(4, Code.CODE_UNSPECIFIED)


def test_a_long_detail_is_cut_not_refused() -> None:
    message = decode_downward(encode_downward(Refusal(4, Code.INTERNAL, "x" * 1000)))
    assert message == Refusal(4, Code.INTERNAL, "x" * limits.MAX_DETAIL_LENGTH)


def test_fields_of_a_later_version_are_ignored() -> None:
    data = encode_upward(frame())
    inner = pb.Upward.FromString(data).frame.SerializeToString() + b"\xfa\x07\x03new"  # field 127
    assert decode_upward(b"\x12" + _varint(len(inner)) + inner) == frame()


@pytest.mark.parametrize("data", [b"", b"\xfa\x07\x00", b"\x12\x7f", b"\xff" * 20])
def test_what_is_no_known_message_is_malformed(data: bytes) -> None:
    for decode in (decode_upward, decode_downward):
        with pytest.raises(RemoteProtocolError) as caught:
            decode(data)
        assert (caught.value.code, caught.value.frame_id) == (Code.MALFORMED, 0)


def test_a_truncated_frame_still_names_its_id() -> None:
    data = encode_upward(frame(frame_id=123_456, payload=bytes(500)))
    for length in range(8, len(data)):
        with pytest.raises(RemoteProtocolError) as caught:
            decode_upward(data[:length])
        assert caught.value.frame_id == 123_456


def test_an_over_long_message_is_refused_unparsed_by_its_id() -> None:
    data = _unchecked(frame(frame_id=9, payload=bytes(limits.MAX_MESSAGE_BYTES)))
    with pytest.raises(RemoteProtocolError) as caught:
        decode_upward(data)
    assert (caught.value.code, caught.value.frame_id) == (Code.TOO_LONG, 9)


@pytest.mark.parametrize(
    "inner",
    [
        b"\x12\x00" * 100_000,  # Result.outputs, empty
        b"\x12\x80\xb5\x18" + b"\x1a\x00" * 200_000,  # one output, of 200 000 empty shapes
        b"\x2a\xa0\x8d\x06" + b"\x01" * 100_000,  # Frame.shape, packed
        b"\x28\x01" * 100_000,  # Frame.shape, not packed
    ],
)
def test_many_small_fields_are_refused_before_they_become_objects(inner: bytes) -> None:
    data = b"\x12" + _varint(len(inner)) + inner
    for decode in (decode_upward, decode_downward):
        with pytest.raises(RemoteProtocolError):
            decode(data)


def test_the_longest_legal_messages_are_read() -> None:
    assert decode_upward(encode_upward(long := frame(payload=bytes(limits.MAX_PAYLOAD_BYTES)))) == long
    outputs = tuple(Tensor.of(f"{i:0>256}", np.zeros((50, 50), np.float32)) for i in range(limits.MAX_OUTPUTS))
    assert decode_downward(encode_downward(result := Result(1, outputs, "cloud"))) == result
    hello = Hello("x" * 64, tuple(bytes([i]) * 32 for i in range(limits.MAX_BUNDLES_IN_HELLO)))
    assert decode_upward(encode_upward(hello)) == hello


def _unchecked(bad: Frame) -> bytes:
    raw = pb.Frame(id=bad.id, bundle=bad.bundle, shape=bad.shape, payload=bad.payload, trace=bad.trace)
    return bytes(pb.Upward(frame=raw).SerializeToString())


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
