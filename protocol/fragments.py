"""Messages in datagrams that may be lost: fragments with redundancy, and notes of what has come. Experimental.

    fragment   u8 1 | u32 number | u8 row | u8 needed | u24 total | bytes
    note       u8 2 | u32 fragments that have come | up to 16 times u32 number of a message that is complete

All big-endian. A message of `total` bytes is cut into `needed` equal parts, the last one filled up with zeros;
fragments with a lower row than that are the parts, the others rows of the code in `protocol.erasure`. Any `needed` of
them are the message. No sockets and no clock here.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from protocol import erasure
from protocol.errors import Code, LocalProtocolError, RemoteProtocolError
from protocol.replay import Seen

MOST_NEEDED: Final = 64
MOST_MESSAGE_BYTES: Final = 48 << 10
"""Longer messages do not go in datagrams."""
MOST_UNFINISHED: Final = 64
"""Messages of which some fragments have come; the oldest is given up for one more. Their bytes are bounded with it."""
MOST_NOTED: Final = 16
HEAD_BYTES: Final = 10

_FRAGMENT: Final = 1
_NOTE: Final = 2
_HEAD: Final = struct.Struct(">BIBBBH")
_NOTE_HEAD: Final = struct.Struct(">BI")
_MOST_NUMBER: Final = (1 << 32) - 1


class Fragment(NamedTuple):
    """One row of a message's code."""

    number: int
    row: int
    needed: int
    total: int
    data: bytes


class Note(NamedTuple):
    """What the receiver tells: fragments that have come since the beginning, and messages that are complete."""

    received: int
    complete: tuple[int, ...] = ()


def encode_fragment(fragment: Fragment) -> bytes:
    """A datagram that holds it."""
    number, row, needed, total, data = fragment
    return _HEAD.pack(_FRAGMENT, number, row, needed, total >> 16, total & 0xFFFF) + data


def encode_note(note: Note) -> bytes:
    """A datagram that holds it."""
    return _NOTE_HEAD.pack(_NOTE, note.received & _MOST_NUMBER) + struct.pack(f">{len(note.complete)}I", *note.complete)


def decode_datagram(data: bytes) -> Fragment | Note:
    """What a datagram holds, within limits.

    Raises:
        RemoteProtocolError: it is none of ours. End the stream.
    """
    if data[:1] == bytes([_FRAGMENT]) and len(data) > _HEAD.size:
        _, number, row, needed, high, low = _HEAD.unpack_from(data)
        found = Fragment(number, row, needed, high << 16 | low, data[_HEAD.size :])
        fits = found.total <= MOST_MESSAGE_BYTES and 1 <= needed <= min(MOST_NEEDED, found.total)
        if number and fits and len(found.data) == part_bytes(found.total, needed):
            return found
    elif data[:1] == bytes([_NOTE]) and len(data) >= _NOTE_HEAD.size:
        rest = len(data) - _NOTE_HEAD.size
        if rest % 4 == 0 and rest <= 4 * MOST_NOTED:
            received = _NOTE_HEAD.unpack_from(data)[1]
            return Note(received, struct.unpack_from(f">{rest // 4}I", data, _NOTE_HEAD.size))
    raise RemoteProtocolError(Code.MALFORMED, "a datagram is neither a fragment nor a note")


def fragment_head(number: int) -> bytes:
    """What all datagrams with fragments of this message begin with."""
    return _HEAD.pack(_FRAGMENT, number, 0, 0, 0, 0)[:5]


def part_bytes(total: int, needed: int) -> int:
    """Bytes of each fragment's data."""
    return -(-total // needed)


class Cut:
    """A message cut into fragments.

    Raises:
        LocalProtocolError: too long, or cut into too many.
    """

    def __init__(self, number: int, message: bytes, needed: int) -> None:
        if not 0 < len(message) <= MOST_MESSAGE_BYTES or not 1 <= needed <= min(MOST_NEEDED, len(message)):
            raise LocalProtocolError(f"{len(message)} bytes cannot go as {needed} fragments")
        size = part_bytes(len(message), needed)
        padded = message.ljust(size * needed, b"\0")
        self._number = number
        self._total = len(message)
        self._rows = np.frombuffer(padded, np.uint8).reshape(needed, size)

    def fragment(self, row: int) -> bytes:
        """The datagram of one fragment, row 0 to 255."""
        needed = len(self._rows)
        data = self._rows[row] if row < needed else erasure.further_row(self._rows, row)
        return encode_fragment(Fragment(self._number, row, needed, self._total, data.tobytes()))


@dataclass(slots=True)
class _Unfinished:
    needed: int
    total: int
    rows: dict[int, erasure.Rows] = field(default_factory=dict)


class Gathering:
    """Messages put together again, each told once. Holds at most `MOST_UNFINISHED` unfinished ones."""

    def __init__(self) -> None:
        self.received = 0
        """Fragments that have come, all together."""
        self._seen = Seen()
        self._unfinished: OrderedDict[int, _Unfinished] = OrderedDict()

    def __len__(self) -> int:
        """Messages that are unfinished."""
        return len(self._unfinished)

    def is_new(self, number: int) -> bool:
        """Whether a message with this number, which came by another way, has not been told; it then counts as told."""
        self._unfinished.pop(number, None)
        return self._seen.is_new(number)

    def add(self, fragment: Fragment) -> bytes | None:
        """Take a fragment; the message, if this was the last that it needed.

        Raises:
            RemoteProtocolError: it contradicts others of the same message. End the stream.
        """
        self.received += 1
        if self._seen.has(fragment.number):
            return None
        found = self._unfinished.setdefault(fragment.number, _Unfinished(fragment.needed, fragment.total))
        if (found.needed, found.total) != (fragment.needed, fragment.total):
            raise RemoteProtocolError(Code.MALFORMED, f"fragments of message {fragment.number} contradict each other")
        found.rows[fragment.row] = np.frombuffer(fragment.data, np.uint8)
        if len(found.rows) < found.needed:
            if len(self._unfinished) > MOST_UNFINISHED:
                self._unfinished.popitem(last=False)
            return None
        del self._unfinished[fragment.number]
        self._seen.is_new(fragment.number)
        return erasure.recovered(found.rows, found.needed).tobytes()[: found.total]
