"""Frames in chunks: whole again whatever goes between them, and nothing held on a peer's word."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import isthmus_pb2 as pb
from protocol.chunks import Assembly, Chunk, decode_chunk, encode_chunk
from protocol.errors import Code, LocalProtocolError, RemoteProtocolError
from protocol.events import Cancelled, Faulty, FrameArrived, Progressed, Refused, ServerEvent
from protocol.limits import MAX_MESSAGE_BYTES, MAX_PARTED
from protocol.messages import Cancel, Hello, Result, Welcome, encode_upward
from protocol.session import ClientSession, ServerSession, State
from tests.protocol.samples import DIGEST, frame

CREDITS = 8


def pair(version: int = 2) -> tuple[ClientSession, ServerSession]:
    tier = ServerSession(bundles=lambda: (DIGEST,), welcome=lambda _: Welcome("edge", (DIGEST,), CREDITS, 100_000))
    caller = ClientSession(Hello("camera", (DIGEST,), version))
    (greeted,) = tier.receive(caller.start())
    caller.receive(greeted.reply)  # type: ignore[union-attr]
    return caller, tier


def cut(frame_id: int, message: bytes, size: int, waited_us: int = 0) -> list[bytes]:
    starts = range(0, len(message), size)
    return [
        encode_chunk(
            Chunk(frame_id, len(message), at, message[at : at + size], waited_us if at + size >= len(message) else 0)
        )
        for at in starts
    ]


def frames_in(events: list[ServerEvent]) -> list[int]:
    return [event.frame.id for event in events if isinstance(event, FrameArrived)]


@given(
    st.lists(st.integers(0, 3000), min_size=1, max_size=CREDITS),
    st.integers(50, 700),
    st.randoms(use_true_random=False),
)
@settings(max_examples=25, deadline=None)
def test_frames_are_whole_again_however_their_chunks_are_mixed(lengths: list[int], size: int, random: object) -> None:
    caller, tier = pair()
    sent = {number: frame(number, bytes(range(256)) * 12) for number in range(1, len(lengths) + 1)}
    sent = {number: frame(number, sent[number].payload[:length]) for number, length in enumerate(lengths, 1)}
    queues = [cut(number, caller.send_frame(sent[number]), size) for number in sent]
    got, counted, last = {}, 0, 0
    while any(queues):
        queue = random.choice([queue for queue in queues if queue])  # type: ignore[attr-defined]
        data = queue.pop(0)
        counted += len(decode_chunk(data).data)
        for event in tier.receive(data):
            if isinstance(event, FrameArrived):
                got[event.frame.id] = event.frame
            else:
                assert isinstance(event, Progressed)
                (progressed,) = caller.receive(event.reply)
                assert progressed == Progressed(counted)
                last = counted
    assert got == sent
    assert last == counted
    for number in sent:
        caller.receive(tier.answer(Result(number, (), "edge")))
    assert caller.credits_left == CREDITS


@given(st.binary(min_size=1, max_size=3000), st.integers(1, 2**64 - 1), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_protobuf_reads_the_same_chunk(data: bytes, frame_id: int, waited_us: int) -> None:
    chunk = Chunk(frame_id, len(data) + 7, 7, data, waited_us)
    message = pb.Upward.FromString(encode_chunk(chunk)).chunk
    assert (message.id, message.total, message.offset, message.data, message.waited_us) == (
        frame_id,
        len(data) + 7,
        7,
        data,
        waited_us,
    )
    written = pb.Upward(chunk=message).SerializeToString()
    assert decode_chunk(written) == chunk


@pytest.mark.parametrize(
    "chunk",
    [
        Chunk(0, 10, 0, b"x"),
        Chunk(1, 0, 0, b"x"),
        Chunk(1, 10, 0, b""),
        Chunk(1, 10, 10, b"x"),
        Chunk(1, MAX_MESSAGE_BYTES + 1, 0, b"x"),
        Chunk(1, 10, 2**32 - 1, b"x"),
    ],
    ids=["no frame", "no length", "no data", "beyond the end", "too long", "far beyond the end"],
)
def test_a_chunk_outside_the_limits_is_our_error_to_send_and_theirs_to_send_us(chunk: Chunk) -> None:
    with pytest.raises(LocalProtocolError):
        encode_chunk(chunk)
    fields = {"id": chunk.id, "total": chunk.total, "offset": chunk.offset, "data": chunk.data}
    with pytest.raises(RemoteProtocolError) as raised:
        decode_chunk(pb.Upward(chunk=pb.Chunk(**fields)).SerializeToString())
    assert raised.value.code is Code.MALFORMED


@pytest.mark.parametrize(
    "data",
    [
        b"\x32",
        b"\x32\x05\x08\x01",
        b"\x32\x02\x08\x01",
        encode_chunk(Chunk(1, 9, 0, b"x")) + b"\x08\x01",
        b"\x32\x05\x2a\x01x\x08\x01",
        b"\x32\x04\x2a\xff\xff\x7f",
    ],
    ids=["tag alone", "cut", "no data", "something behind", "data not last", "length that lies"],
)
def test_bytes_that_are_no_chunk_end_the_stream(data: bytes) -> None:
    _, tier = pair()
    with pytest.raises(RemoteProtocolError):
        tier.receive(data)
    assert tier.state is State.CLOSED


@pytest.mark.parametrize(
    "second",
    [Chunk(1, 10, 3, b"x"), Chunk(1, 10, 1, b"x"), Chunk(1, 9, 2, b"x"), Chunk(1, 10, 0, b"xx"), Chunk(2, 10, 5, b"x")],
    ids=["gap", "overlap", "another length", "begun again", "begun in the middle"],
)
def test_a_chunk_that_does_not_follow_ends_the_stream(second: Chunk) -> None:
    assembly = Assembly()
    assert assembly.add(Chunk(1, 10, 0, b"ab")) is None
    with pytest.raises(RemoteProtocolError) as raised:
        assembly.add(second)
    assert raised.value.code is Code.MALFORMED


def test_announced_lengths_cost_no_memory_and_unfinished_frames_are_bounded() -> None:
    assembly = Assembly()
    for number in range(1, MAX_PARTED + 1):
        assembly.add(Chunk(number, MAX_MESSAGE_BYTES, 0, b"x"))
    assert sum(sys.getsizeof(part) for _, part in assembly._parts.values()) < 100 * MAX_PARTED
    with pytest.raises(RemoteProtocolError):
        assembly.add(Chunk(99, MAX_MESSAGE_BYTES, 0, b"x"))
    million = bytes(1 << 20)
    each = [(1 + (part << 20), number) for part in range(8) for number in range(1, MAX_PARTED + 1)]
    for offset, number in each[:15]:
        assembly.add(Chunk(number, MAX_MESSAGE_BYTES, offset, million))
    with pytest.raises(RemoteProtocolError) as raised:
        assembly.add(Chunk(each[15][1], MAX_MESSAGE_BYTES, each[15][0], million))
    assert raised.value.code is Code.TOO_LONG
    assert sum(len(part) for _, part in assembly._parts.values()) <= 2 * MAX_MESSAGE_BYTES


def test_a_cancelled_frame_of_which_parts_are_missing_is_forgotten_and_its_id_free_again() -> None:
    caller, tier = pair()
    message = caller.send_frame(frame(5, bytes(1000)))
    first = cut(5, message, 400)[0]
    assert [type(event) for event in tier.receive(first)] == [Progressed]
    cancel = caller.cancel(5)
    caller.withdraw(5)
    assert tier.receive(cancel) == []
    assert not tier.in_flight
    assert caller.credits_left == CREDITS
    again = cut(5, caller.send_frame(frame(5, bytes(1000))), 400)
    assert frames_in([event for data in again for event in tier.receive(data)]) == [5]
    assert tier.receive(caller.cancel(5)) == [Cancelled(5)]


def test_the_time_that_a_frame_waited_is_taken_from_its_deadline() -> None:
    for waited_us, left in ((0, 200_000), (50_000, 150_000), (10**9, 0)):
        caller, tier = pair()
        chunks = cut(7, caller.send_frame(frame(7, bytes(500))), 300, waited_us)
        (arrived,) = [event for data in chunks for event in tier.receive(data) if isinstance(event, FrameArrived)]
        assert arrived.frame == replace(frame(7, bytes(500)), remaining_us=left)


def test_a_damaged_frame_in_chunks_is_refused_by_its_id_and_the_stream_goes_on() -> None:
    caller, tier = pair()
    message = bytearray(caller.send_frame(frame(3, bytes(500))))
    message[-1] ^= 1
    *_, last = [event for data in cut(3, bytes(message), 200) for event in tier.receive(data)]
    assert isinstance(last, Faulty)
    assert last.refusal.code is Code.CHECKSUM
    assert caller.receive(last.reply) == [Refused(last.refusal)]
    assert frames_in(tier.receive(caller.send_frame(frame(4)))) == [4]


@pytest.mark.parametrize(
    "message",
    [encode_upward(Hello("camera", (DIGEST,))), encode_upward(Cancel(1)), encode_upward(frame(2)), bytes(40)],
    ids=["hello", "cancel", "another frame", "nothing"],
)
def test_chunks_of_anything_but_their_frame_are_refused(message: bytes) -> None:
    _, tier = pair()
    try:
        events = [event for data in cut(1, message, 10) for event in tier.receive(data)]
    except RemoteProtocolError:
        assert tier.state is State.CLOSED
    else:
        assert isinstance(events[-1], Faulty)
    assert not tier.in_flight


def test_a_stream_of_version_1_has_no_chunks() -> None:
    caller, tier = pair(version=1)
    assert not caller.takes_chunks
    (chunk,) = cut(1, caller.send_frame(frame(1)), 10_000)
    with pytest.raises(RemoteProtocolError):
        tier.receive(chunk)
