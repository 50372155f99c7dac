"""Frames in chunks that are cut short: what has come is what there is, and nothing about it is taken on trust."""

from __future__ import annotations

from dataclasses import replace

import pytest
from google_crc32c import value as crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import isthmus_pb2 as pb
from protocol.chunks import Chunk, Front, encode_chunk
from protocol.errors import Code, LocalProtocolError, RemoteProtocolError
from protocol.events import Faulty, FrameArrived, ServerEvent
from protocol.limits import MAX_MESSAGE_BYTES
from protocol.messages import Cancel, Hello, Result, decode_upward, encode_upward
from protocol.session import ClientSession, ServerSession, State
from tests.protocol.samples import DIGEST, frame
from tests.protocol.test_chunks import pair

PAYLOAD = bytes(range(256)) * 4


def begun(session: ClientSession | None, until: int, step: int = 300) -> tuple[list[bytes], int]:
    """Chunks of frame 7 up to so many bytes of its message, and how long its head is."""
    caller = session or pair()[0]
    head = caller.begin_frame(frame(7, PAYLOAD))
    message = head + PAYLOAD
    chunks = [
        encode_chunk(Chunk(7, len(message), at, message[at : min(at + step, until)])) for at in range(0, until, step)
    ]
    return chunks, len(head)


def told(tier: ServerSession, messages: list[bytes]) -> list[ServerEvent]:
    return [event for message in messages for event in tier.receive(message)]


@given(st.integers(1, len(PAYLOAD) - 1), st.integers(1, 400), st.sampled_from([0, 50_000, 10**9]))
@settings(max_examples=30, deadline=None)
def test_what_has_come_of_a_payload_is_the_frame(kept: int, step: int, waited_us: int) -> None:
    caller, tier = pair()
    head_bytes = begun(None, 1)[1]
    chunks, _ = begun(caller, head_bytes + kept, step)
    front = Front.of(7, head_bytes, PAYLOAD[:kept], waited_us)
    *_, arrived = told(tier, [*chunks, encode_upward(front)])
    assert isinstance(arrived, FrameArrived)
    whole = frame(7, PAYLOAD)
    assert arrived.frame == replace(
        whole,
        payload=PAYLOAD[:kept],
        crc32c=crc32c(PAYLOAD[:kept]),
        is_front=True,
        remaining_us=max(0, whole.remaining_us - waited_us),
    )
    caller.receive(tier.answer(Result(7, (), "edge")))
    assert not caller.in_flight


def test_an_id_is_free_again_and_the_stream_goes_on() -> None:
    caller, tier = pair()
    for _ in range(2):
        chunks, head_bytes = begun(caller, 600)
        end = encode_upward(Front.of(7, head_bytes, PAYLOAD[: 600 - head_bytes], 0))
        assert isinstance(told(tier, [*chunks, end])[-1], FrameArrived)
        caller.receive(tier.answer(Result(7, (), "edge")))


@pytest.mark.parametrize(
    "spoilt",
    [{"crc32c": 1}, {"message_bytes": 599}, {"message_bytes": 601}, {"id": 8}],
    ids=["checksum", "fewer than came", "more than came", "another frame"],
)
def test_an_end_that_lies_is_refused(spoilt: dict[str, int]) -> None:
    caller, tier = pair()
    chunks, head_bytes = begun(caller, 600)
    front = replace(Front.of(7, head_bytes, PAYLOAD[: 600 - head_bytes], 0), **spoilt)
    told(tier, chunks)
    if "crc32c" in spoilt:
        (faulty,) = tier.receive(encode_upward(front))
        assert isinstance(faulty, Faulty)
        assert faulty.refusal.code is Code.CHECKSUM
        assert tier.state is State.OPEN
    else:
        with pytest.raises(RemoteProtocolError) as raised:
            tier.receive(encode_upward(front))
        assert raised.value.code is Code.MALFORMED
        assert tier.state is State.CLOSED
    assert not tier.in_flight


@pytest.mark.parametrize(
    "again", ["twice", "a chunk behind it", "before any chunk", "behind a whole frame", "cancelled"]
)
def test_an_end_out_of_order_ends_the_stream(again: str) -> None:
    caller, tier = pair()
    chunks, head_bytes = begun(caller, 600)
    end = encode_upward(Front.of(7, head_bytes, PAYLOAD[: 600 - head_bytes], 0))
    before = {
        "twice": [*chunks, end, end],
        "a chunk behind it": [*chunks, end, encode_chunk(Chunk(7, head_bytes + len(PAYLOAD), 600, b"x"))],
        "before any chunk": [end],
        "behind a whole frame": [*begun(None, head_bytes + len(PAYLOAD))[0], end],
        "cancelled": [*chunks, encode_upward(Cancel(7)), end],
    }[again]
    told(tier, before[:-1])
    with pytest.raises(RemoteProtocolError):
        tier.receive(before[-1])
    assert tier.state is State.CLOSED


def _of_message(message: bytes, kept: int) -> list[bytes]:
    """A front of any message: so many bytes in one chunk, and an end that fits them."""
    chunk = encode_chunk(Chunk(7, len(message) + 1, 0, message[:kept]))
    return [chunk, encode_upward(Front(7, kept, crc32c(b"")))]


def test_a_frame_is_cut_short_within_its_payload_only() -> None:
    """Not in its head, nor where something follows the payload, nor in anything that is no frame."""
    message = encode_upward(frame(7, b"payload"))
    behind = pb.Upward(frame=pb.Frame(id=7, payload=b"payload", remaining_us=9)).SerializeToString()
    long_head = pb.Upward(frame=pb.Frame(id=7, trace=bytes(9000))).SerializeToString() + b"\x32\x05abc"
    for data, kept in [
        *((message, kept) for kept in range(1, len(message) - len(b"payload"))),
        (behind, len(behind) - 1),
        (long_head, len(long_head)),
        (encode_upward(Cancel(7)), 3),
    ]:
        _, tier = pair()
        *_, last = told(tier, _of_message(data, kept))
        assert isinstance(last, Faulty)
        assert last.refusal.code is Code.MALFORMED
        assert not tier.in_flight


def test_another_frames_chunks_end_the_stream() -> None:
    _, tier = pair()
    message = encode_upward(frame(9, PAYLOAD))
    with pytest.raises(RemoteProtocolError, match="something else"):
        told(tier, _of_message(message, len(message) - 1))


def test_only_tiers_that_say_so_are_sent_fronts() -> None:
    assert pair()[0].takes_fronts
    assert not pair(version=1)[0].takes_fronts
    caller = ClientSession(Hello("camera", (DIGEST,)))
    caller.start()
    from_before = pb.Downward(welcome=pb.Welcome(version=2, tier="edge", credits=3, max_payload_bytes=9))
    caller.receive(from_before.SerializeToString())
    assert caller.takes_chunks
    assert not caller.takes_fronts


@pytest.mark.parametrize(
    "front", [Front(0, 10, 0), Front(1, 0, 0), Front(1, MAX_MESSAGE_BYTES, 0), Front(1, 9, 1 << 32)]
)
def test_a_front_outside_the_limits_is_our_error_to_send(front: Front) -> None:
    with pytest.raises(LocalProtocolError):
        encode_upward(front)


def test_a_front_outside_the_limits_is_theirs_to_send_us() -> None:
    for fields in ({"bytes": 9}, {"id": 1}, {"id": 1, "bytes": MAX_MESSAGE_BYTES}):
        with pytest.raises(RemoteProtocolError) as raised:
            decode_upward(pb.Upward(front=pb.Front(**fields)).SerializeToString())
        assert raised.value.code is Code.MALFORMED


def test_a_front_cannot_be_sent_as_a_frame() -> None:
    with pytest.raises(LocalProtocolError, match="cut short"):
        encode_upward(replace(frame(), is_front=True))
