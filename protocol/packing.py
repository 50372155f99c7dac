"""Several messages as one: what waits to be written to a stream goes out together.

A pack is field 5 of `Upward` or `Downward`: `message Pack { repeated bytes messages = 1; }`. Packs are not nested, for
a message inside one is read as any other, and there kind 5 is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from protocol import wire
from protocol.errors import Code, RemoteProtocolError
from protocol.limits import MAX_MESSAGE_BYTES, MAX_PACKED, PACK_BYTES

_TAG: Final = b"\x2a"
_INNER_TAG: Final = b"\x0a"


def pack(messages: Sequence[bytes]) -> bytes:
    """One message that holds these, at most `MAX_PACKED`; a single one is left as it is."""
    if len(messages) == 1:
        return messages[0]
    parts = [part for message in messages for part in (_INNER_TAG, wire.varint(len(message)), message)]
    return b"".join((_TAG, wire.varint(sum(map(len, parts))), *parts))


def packs(messages: Sequence[bytes]) -> Iterable[bytes]:
    """These messages in as few as there may be, in order; none longer than `PACK_BYTES` but for one alone in it."""
    return messages if len(messages) == 1 else _groups(messages)


def _groups(messages: Sequence[bytes]) -> Iterator[bytes]:
    group: list[bytes] = []
    size = 0
    for message in messages:
        if group and (size + len(message) > PACK_BYTES or len(group) == MAX_PACKED):
            yield pack(group)
            group, size = [], 0
        group.append(message)
        size += len(message)
    if group:
        yield pack(group)


def unpack(data: bytes) -> Sequence[bytes]:
    """The messages in a pack, in order; any other message by itself.

    Raises:
        RemoteProtocolError: a pack that breaks off, is too long, or holds too many messages or anything else. End the
            stream.
    """
    if data[:1] != _TAG:
        return (data,)
    if len(data) > MAX_MESSAGE_BYTES:
        raise RemoteProtocolError(Code.TOO_LONG, f"a pack of {len(data)} bytes is longer than {MAX_MESSAGE_BYTES}")
    messages = wire.repeated(data, MAX_PACKED)
    if messages is None:
        raise RemoteProtocolError(Code.MALFORMED, f"a pack must be of 1 to {MAX_PACKED} messages and nothing else")
    return messages
