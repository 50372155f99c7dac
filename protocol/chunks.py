"""Long frames in parts, so that a small urgent one can go between them.

A chunk is field 6 of `Upward` and its only one, so it is cut out of the bytes here rather than copied by protobuf. The
parts of a frame come in order; those of several frames may be mixed. Since version 2. A `Front` ends a frame before its
last part: what has come of the payload is what there is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from google_crc32c import value as _crc32c

from protocol import wire
from protocol.errors import Code, LocalProtocolError, RemoteProtocolError
from protocol.limits import MAX_MESSAGE_BYTES, MAX_PARTED

TAG: Final = b"\x32"
_INNER_TAG: Final = b"\x2a"
_DATA_FIELD: Final = 5
_HEAD_BYTES: Final = 64
"""More than a chunk's fields but the data may take."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of the message that sends frame `id`: its bytes from `offset` on.

    Attributes:
        total: bytes of the whole message.
        waited_us: in the last part, microseconds since the frame's `remaining_us` was written.
    """

    id: int
    total: int
    offset: int
    data: bytes
    waited_us: int = 0

    @property
    def is_last(self) -> bool:
        return self.offset + len(self.data) == self.total


@dataclass(frozen=True, slots=True)
class Front:
    """The rest of frame `id` does not come: its payload ends where its chunks have.

    Attributes:
        message_bytes: how many of the frame's message have come, head and all.
        crc32c: of the part of the payload that is among them.
        waited_us: microseconds since the frame's `remaining_us` was written.
    """

    id: int
    message_bytes: int
    crc32c: int
    waited_us: int = 0

    @classmethod
    def of(cls, frame_id: int, head_bytes: int, payload: bytes, waited_us: int) -> Front:
        """What follows on a head of so many bytes and this much of the payload."""
        return cls(frame_id, head_bytes + len(payload), int(_crc32c(payload)), waited_us)


def encode_chunk(chunk: Chunk) -> bytes:
    """An `Upward` that holds it.

    Raises:
        LocalProtocolError: a value is outside the limits.
    """
    fault = _fault_of(chunk)
    if fault is not None:
        raise LocalProtocolError(fault)
    head = b"".join(
        tag + wire.varint(value)
        for tag, value in zip(
            (b"\x08", b"\x10", b"\x18", b"\x20"), (chunk.id, chunk.total, chunk.offset, chunk.waited_us), strict=True
        )
    )
    size = wire.varint(len(chunk.data))
    whole = wire.varint(len(head) + 1 + len(size) + len(chunk.data))
    return b"".join((TAG, whole, head, _INNER_TAG, size, chunk.data))


def decode_chunk(data: bytes) -> Chunk:
    """The chunk in an `Upward` that begins with `TAG`.

    Raises:
        RemoteProtocolError: broken, outside the limits, or not alone. Concerns the stream, for no frame can be refused.
    """
    if len(data) > MAX_MESSAGE_BYTES:
        raise RemoteProtocolError(Code.TOO_LONG, f"a chunk of {len(data)} bytes is longer than {MAX_MESSAGE_BYTES}")
    parts = wire.carved_chunk(data, _DATA_FIELD, _HEAD_BYTES)
    if parts is None:
        raise RemoteProtocolError(Code.MALFORMED, "the bytes are no chunk of a frame")
    numbers, content = parts
    chunk = Chunk(numbers.get(1, 0), numbers.get(2, 0), numbers.get(3, 0), content, numbers.get(4, 0))
    fault = _fault_of(chunk)
    if fault is not None:
        raise RemoteProtocolError(Code.MALFORMED, fault)
    return chunk


class Assembly:
    """The frames of one stream of which parts have come. Grows with what has come, never with what is announced."""

    def __init__(self) -> None:
        self._parts: dict[int, tuple[int, bytearray]] = {}
        self.received_bytes = 0
        """In chunks, since the stream began."""

    def __len__(self) -> int:
        return len(self._parts)

    def add(self, chunk: Chunk) -> bytes | None:
        """Take the next part of a frame; the whole message if this was the last.

        Raises:
            RemoteProtocolError: not the part that was due, or too much is unfinished. Concerns the stream.
        """
        total, so_far = self._parts.get(chunk.id, (chunk.total, bytearray()))
        if total != chunk.total or len(so_far) != chunk.offset:
            raise RemoteProtocolError(Code.MALFORMED, f"a chunk of frame {chunk.id} does not follow the one before")
        if not so_far and len(self._parts) == MAX_PARTED:
            raise RemoteProtocolError(Code.MALFORMED, f"more than {MAX_PARTED} frames are unfinished")
        if sum(len(part) for _, part in self._parts.values()) + len(chunk.data) > 2 * MAX_MESSAGE_BYTES:
            raise RemoteProtocolError(Code.TOO_LONG, f"unfinished frames hold more than {2 * MAX_MESSAGE_BYTES} bytes")
        self.received_bytes += len(chunk.data)
        so_far += chunk.data
        if chunk.is_last:
            self._parts.pop(chunk.id, None)
            return bytes(so_far)
        self._parts[chunk.id] = total, so_far
        return None

    def cut_short(self, front: Front) -> bytes:
        """What has come of a frame whose rest will not.

        Raises:
            RemoteProtocolError: nothing of it is unfinished, or another number of bytes is. Concerns the stream.
        """
        _, so_far = self._parts.pop(front.id, (0, bytearray()))
        if not so_far or len(so_far) != front.message_bytes:
            detail = f"frame {front.id} is cut short after {front.message_bytes} bytes, but {len(so_far)} have come"
            raise RemoteProtocolError(Code.MALFORMED, detail)
        return bytes(so_far)

    def forget(self, frame_id: int) -> bool:
        """Drop the parts of a frame whose rest will not come; whether there were any."""
        return self._parts.pop(frame_id, None) is not None


def _fault_of(chunk: Chunk) -> str | None:
    if not 0 < chunk.id < 1 << 64:
        return "a chunk must name its frame"
    if not 0 < chunk.total <= MAX_MESSAGE_BYTES:
        return f"a message of {chunk.total} bytes is not between 1 and {MAX_MESSAGE_BYTES}"
    if not chunk.data or chunk.offset + len(chunk.data) > chunk.total:
        return f"a chunk of {len(chunk.data)} bytes does not lie within the {chunk.total} of its message"
    if not 0 <= chunk.waited_us < 1 << 32:
        return "a frame cannot have waited for more than 32 bits of microseconds"
    return None


def fault_of_front(front: Front) -> str | None:
    if not 0 < front.id < 1 << 64:
        return "a front must name its frame"
    if not 0 < front.message_bytes < MAX_MESSAGE_BYTES:
        return f"a front of {front.message_bytes} bytes is not between 1 and {MAX_MESSAGE_BYTES}"
    return None
