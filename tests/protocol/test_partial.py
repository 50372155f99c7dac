"""Frames of several packets: taken apart, put together, told once, and not waited for beyond half of their time."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from protocol import packets
from protocol.errors import BitstreamError, Code, LocalProtocolError, RemoteProtocolError
from protocol.messages import Frame, Probe, decode_upward, encode_upward
from protocol.partial import MOST_UNFINISHED, Partial, split_frame
from tests.protocol.samples import frame, laplace, sample

TABLES, POSITIONS = laplace(4, seed=1, reach=6), 64
PARTS = packets.split(sample(TABLES, POSITIONS, seed=3), TABLES, 3)
WHOLE = frame(7, packets.together(PARTS))


def payload_of(message: bytes) -> list[bytes]:
    found = decode_upward(message)
    assert isinstance(found, Frame)
    found.verify()
    parts = packets.apart(found.payload)
    assert parts is not None
    return parts


def test_every_part_is_a_frame_of_one_packet_and_all_together_are_the_frame() -> None:
    parts, partial = split_frame(encode_upward(WHOLE)), Partial()
    assert [payload_of(part) for part in parts] == [[packet] for packet in PARTS]
    assert partial.add(parts[2], 1.0) == []
    assert partial.add(parts[0], 1.01) == []
    assert partial.add(parts[0], 1.01) == []
    (message,) = partial.add(parts[1], 1.05)
    assert payload_of(message) == PARTS
    assert decode_upward(message) == replace(WHOLE, remaining_us=150_000)
    assert partial.next_s == math.inf


def test_what_has_not_come_in_half_of_the_time_is_done_without_and_ignored_later() -> None:
    parts, partial = split_frame(encode_upward(WHOLE)), Partial()
    partial.add(parts[1], 5.0)
    assert partial.next_s == pytest.approx(5.1)
    assert partial.overdue(5.09) == []
    (message,) = partial.overdue(5.1)
    assert payload_of(message) == [PARTS[1]]
    assert partial.add(parts[0], 5.2) == []
    assert len(partial) == 0
    again = replace(WHOLE, captured_us=9)  # another frame with this number, later
    assert partial.add(split_frame(encode_upward(again))[0], 6.0) == []
    assert len(partial) == 1


@pytest.mark.parametrize("message", [frame(1), frame(1, packets.together(PARTS[:1])), Probe(3)])
def test_all_other_messages_pass_as_they_are(message: Frame | Probe) -> None:
    data = encode_upward(message)
    assert split_frame(data) == [data]
    if not isinstance(message, Frame) or message.payload[:1] != b"\6":
        assert Partial().add(data, 0.0) == [data]
    assert Partial().add(b"\xff", 0.0) == [b"\xff"]


def test_packets_that_contradict_each_other_are_refused() -> None:
    partial, others = Partial(), packets.split(sample(TABLES, POSITIONS, seed=3), TABLES, 4)
    partial.add(split_frame(encode_upward(WHOLE))[0], 0.0)
    for changed in (replace(WHOLE, payload=packets.together(others)), replace(WHOLE, level=3)):
        with pytest.raises(RemoteProtocolError) as caught:
            partial.add(split_frame(encode_upward(changed))[1], 0.0)
        assert caught.value.code is Code.MALFORMED


def test_a_flood_of_beginnings_is_bounded_and_tells_the_oldest_as_it_is() -> None:
    partial, told = Partial(), []
    for number in range(1, MOST_UNFINISHED + 3):
        told += partial.add(split_frame(encode_upward(replace(WHOLE, id=number)))[0], float(number))
    assert len(partial) == MOST_UNFINISHED
    assert [decode_upward(message).id for message in told] == [1, 2]  # type: ignore[union-attr]


def test_a_set_of_packets_is_written_as_documented_and_no_other_payload_is_taken_for_one() -> None:
    assert packets.together([b"ab", b"c"]) == b"\6\2\0ab\1\0c"
    assert packets.apart(b"\6\2\0ab\1\0c") == [b"ab", b"c"]
    assert packets.apart(b"") is None
    assert packets.apart(b"\x05ab") is None
    for broken in (b"\6\2", b"\6\2\0a", b"\6" + 17 * b"\0\0"):
        with pytest.raises(BitstreamError):
            packets.apart(broken)
    with pytest.raises(LocalProtocolError):
        packets.together([bytes(1 << 16)])
