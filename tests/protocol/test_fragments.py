"""Messages in fragments: any that are enough, in any order, twice or not; and what strangers may not do."""

from __future__ import annotations

import random
import struct
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import Code, LocalProtocolError, RemoteProtocolError
from protocol.fragments import (
    MOST_MESSAGE_BYTES,
    MOST_NOTED,
    MOST_UNFINISHED,
    Cut,
    Fragment,
    Gathering,
    Note,
    decode_datagram,
    encode_fragment,
    encode_note,
)


def taken(gathering: Gathering, datagram: bytes) -> bytes | None:
    fragment = decode_datagram(datagram)
    assert isinstance(fragment, Fragment)
    return gathering.add(fragment)


@settings(deadline=None, max_examples=60)
@given(message=st.binary(min_size=1, max_size=300), needed=st.integers(1, 8), order=st.randoms(use_true_random=False))
def test_a_message_is_whole_with_the_last_fragment_it_needs_and_told_once(
    message: bytes, needed: int, order: random.Random
) -> None:
    needed = min(needed, len(message))
    cut = Cut(3, message, needed)
    datagrams = [cut.fragment(index) for index in order.sample(range(needed + 6), needed + 3)]
    gathering = Gathering()
    told = [taken(gathering, datagram) for datagram in datagrams]
    assert told == [None] * (needed - 1) + [message] + [None] * 3
    assert gathering.received == needed + 3


def test_the_same_fragment_twice_is_one() -> None:
    cut, gathering = Cut(1, b"twice as long", 2), Gathering()
    assert [taken(gathering, cut.fragment(index)) for index in (0, 0, 3)] == [None, None, b"twice as long"]


def test_a_message_that_came_another_way_is_not_told_again() -> None:
    cut, gathering = Cut(5, b"message", 2), Gathering()
    assert taken(gathering, cut.fragment(0)) is None
    assert gathering.is_new(5)
    assert taken(gathering, cut.fragment(1)) is None
    assert not gathering.is_new(5)


def test_a_datagram_is_written_as_documented() -> None:
    assert Cut(0x01020304, b"abcde", 2).fragment(1) == b"\x01\x01\x02\x03\x04\x01\x02\x00\x00\x05de\x00"
    assert encode_note(Note(7, (1, 258))) == b"\x02\x00\x00\x00\x07\x00\x00\x00\x01\x00\x00\x01\x02"


@given(received=st.integers(0, (1 << 32) - 1), complete=st.lists(st.integers(0, (1 << 32) - 1), max_size=MOST_NOTED))
def test_a_note_comes_back_as_it_was(received: int, complete: list[int]) -> None:
    assert decode_datagram(encode_note(Note(received, tuple(complete)))) == Note(received, tuple(complete))


HOSTILE = {
    "nothing": b"",
    "no kind of ours": b"\x03" + bytes(20),
    "a fragment without data": encode_fragment(Fragment(1, 0, 1, 5, b"")),
    "number 0": encode_fragment(Fragment(0, 0, 1, 1, b"a")),
    "no parts": encode_fragment(Fragment(1, 0, 0, 1, b"a")),
    "more parts than bytes": encode_fragment(Fragment(1, 0, 2, 1, b"a")),
    "too many parts": encode_fragment(Fragment(1, 0, 65, 65, b"a")),
    "a message that is too long": encode_fragment(Fragment(1, 0, 1, MOST_MESSAGE_BYTES + 1, b"a")),
    "data shorter than its share": encode_fragment(Fragment(1, 0, 2, 10, b"abcd")),
    "data longer than its share": encode_fragment(Fragment(1, 0, 2, 10, b"abcdef")),
    "half a number in a note": b"\x02" + bytes(6),
    "a note without end": b"\x02" + bytes(4 + 4 * (MOST_NOTED + 1)),
}


@pytest.mark.parametrize("datagram", HOSTILE.values(), ids=HOSTILE)
def test_a_datagram_outside_the_limits_is_refused(datagram: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as refusal:
        decode_datagram(datagram)
    assert refusal.value.code is Code.MALFORMED


@given(st.binary(max_size=80))
def test_any_bytes_end_in_a_value_or_in_the_peers_error(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        decode_datagram(data)


def test_fragments_that_contradict_each_other_are_refused() -> None:
    gathering = Gathering()
    gathering.add(Fragment(1, 0, 2, 10, bytes(5)))
    with pytest.raises(RemoteProtocolError, match="contradict"):
        gathering.add(Fragment(1, 1, 5, 25, bytes(5)))


def test_a_flood_of_beginnings_is_bounded_and_gives_up_the_oldest() -> None:
    gathering = Gathering()
    for number in range(1, MOST_UNFINISHED + 3):
        assert gathering.add(Fragment(number, 0, 2, 2, b"a")) is None
    assert gathering.add(Fragment(2, 1, 2, 2, b"b")) is None, "its beginning was given up"
    assert gathering.add(Fragment(MOST_UNFINISHED, 1, 2, 2, b"b")) == b"ab"


def test_a_message_that_does_not_fit_is_our_own_mistake() -> None:
    for message, needed in ((b"", 1), (bytes(MOST_MESSAGE_BYTES + 1), 60), (b"abc", 4), (bytes(100), 65)):
        with pytest.raises(LocalProtocolError):
            Cut(1, message, needed)


def test_the_number_of_a_message_is_the_one_in_its_datagrams() -> None:
    assert struct.unpack_from(">I", Cut(77, b"a", 1).fragment(9), 1) == (77,)
