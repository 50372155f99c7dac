"""Messages that travel together are the messages that were put in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import isthmus_pb2 as pb
from protocol.errors import Code, RemoteProtocolError
from protocol.limits import MAX_MESSAGE_BYTES, MAX_PACKED, PACK_BYTES
from protocol.messages import Probe, decode_downward, decode_upward, encode_upward
from protocol.packing import pack, packs, unpack
from tests.protocol.samples import frame


@given(st.lists(st.binary(max_size=300), min_size=2, max_size=MAX_PACKED))
def test_unpack_gives_back_what_was_packed_and_protobuf_agrees(messages: list[bytes]) -> None:
    data = pack(messages)
    assert list(unpack(data)) == messages
    assert list(pb.Upward.FromString(data).pack.messages) == messages
    assert list(pb.Downward.FromString(data).pack.messages) == messages


@given(st.lists(st.integers(1, 3 * PACK_BYTES // 2), max_size=200))
def test_packs_keep_order_and_bounds(sizes: list[int]) -> None:
    messages = [b"\x12" + bytes(size) for size in sizes]
    found = list(packs(messages))
    assert [message for one in found for message in unpack(one)] == messages
    for one in found:
        assert len(unpack(one)) <= MAX_PACKED
        assert len(unpack(one)) == 1 or sum(map(len, unpack(one))) <= PACK_BYTES


def test_any_other_message_is_left_alone() -> None:
    for data in (b"", b"\xff", encode_upward(frame()), encode_upward(Probe(1))):
        assert list(unpack(data)) == [data]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x2a\x00", Code.MALFORMED),
        (b"\x2a", Code.MALFORMED),
        (b"\x2a\x05\x0a\x03ab", Code.MALFORMED),
        (b"\x2a\x02\x0a\x00\x2a\x00", Code.MALFORMED),
        (b"\x2a\x02\x08\x00", Code.MALFORMED),
        (b"\x2a\x02\x12\x00", Code.MALFORMED),
        (b"\x2a\x82\x01" + b"\x0a\x00" * 65, Code.MALFORMED),
        (b"\x2a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x0a\x00", Code.MALFORMED),
        (b"\x2a" + bytes(MAX_MESSAGE_BYTES), Code.TOO_LONG),
    ],
    ids=["empty", "cut", "inner cut", "two", "number", "another field", "too many", "endless length", "too long"],
)
def test_what_is_no_pack_is_refused(data: bytes, code: Code) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        unpack(data)
    assert caught.value.code is code


def test_a_pack_in_a_pack_is_no_message() -> None:
    inner = pack([encode_upward(Probe(1)), encode_upward(Probe(2))])
    for message in unpack(pack([inner, inner])):
        for decode in (decode_upward, decode_downward):
            with pytest.raises(RemoteProtocolError, match="no kind"):
                decode(message)
