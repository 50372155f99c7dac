"""A look at a protobuf message without parsing it: which frame it is about, and where its long contents lie.

protobuf turns two bytes of an empty nested message into an object of some hundred bytes, so a few megabytes from a
hostile peer could become hundreds; and it copies a long payload twice. So the long contents are cut out here, and
protobuf sees only what is left, which must be small.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from protocol.limits import MAX_OUTPUTS

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
WHOLE_BYTES: Final = 64 << 10
"""Messages up to this length go to protobuf as they are: at worst they become some megabytes."""
SMALL_BYTES: Final = 4096
"""What a longer message may be without its payload or its outputs' data."""
HELLO_TAG, CANCEL_TAG = b"\x0a", b"\x1a"
"""First bytes of messages; a welcome's is that of a hello, a refusal's that of a cancel."""
FRAME_TAG, PAYLOAD_TAG = b"\x12", b"\x32"
FRONT_TAG = b"\x3a"
RESULT_TAG, OUTPUT_TAG, DATA_TAG = b"\x12", b"\x12", b"\x22"
_ONE_BYTE: Final = tuple(bytes([value]) for value in range(1 << 7))
_FRAME_FIELD: Final = 2
_PAYLOAD_FIELD: Final = 6
_OUTPUTS_FIELD: Final = 2
_DATA_FIELD: Final = 4


class _Broken(Exception):
    """The bytes are no protobuf message from here on."""


def frame_id_of(data: bytes) -> int:
    """Id of the frame that these bytes of an `Upward` try to send, or 0. Works on truncated and over-long messages."""
    try:
        for number, kind, start, stop in _fields(data, 0, len(data), clip=True):
            if number == _FRAME_FIELD and kind == _BYTES:
                return _first_varint(data, start, stop)
    except _Broken:
        return 0
    return 0


def answered_id_of(data: bytes) -> int:
    """Id of the frame that these bytes of a result, refusal or cancel are about, or 0."""
    try:
        for _, kind, start, stop in _fields(data, 0, len(data)):
            return _first_varint(data, start, stop) if kind == _BYTES else 0
    except _Broken:
        return 0
    return 0


def varint(value: int) -> bytes:
    """A length as protobuf writes it."""
    if value < 1 << 7:
        return _ONE_BYTE[value]
    if value < 1 << 14:
        return bytes((value & 0x7F | 0x80, value >> 7))
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def repeated(data: bytes, most: int) -> list[bytes] | None:
    """Contents of the one message in `data`, which must be 1 to `most` times field 1, of bytes; else None."""
    found: list[bytes] = []
    try:
        for _, _, start, stop in _top(data):
            for number, kind, inner, end in _fields(data, start, stop):
                if number != 1 or kind != _BYTES or len(found) == most:
                    return None
                found.append(data[inner:end])
    except _Broken:
        return None
    return found or None


def carved_frame(data: bytes) -> tuple[bytes, bytes] | None:
    """A frame's fields but the payload, and the payload; None where the bytes are not one frame with little else."""
    try:
        if data[:1] != FRAME_TAG:
            return None
        for _, _, start, stop in _top(data):
            return _carved(data, start, stop, _PAYLOAD_FIELD)
    except _Broken:
        return None
    return None


def carved_front(data: bytes) -> tuple[bytes, bytes] | None:
    """The same of a frame that breaks off within its payload, which must come last: its fields, and what has come."""
    try:
        for number, kind, start, stop in _fields(data, 0, len(data), clip=True):
            if number != _FRAME_FIELD or kind != _BYTES or stop != len(data):
                return None
            before = start
            for inner, its_kind, begin, end in _fields(data, start, stop, clip=True):
                if before - start > SMALL_BYTES:
                    return None
                if inner == _PAYLOAD_FIELD and its_kind == _BYTES:
                    return (data[start:before], data[begin:end]) if end == stop else None
                before = end
    except _Broken:
        return None
    return None


def carved_result(data: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]] | None:
    """A result's fields but the outputs, and for each output its fields but the data, and the data.

    None where the bytes are not one result, or one with more outputs or other fields than a result may have.
    """
    if data[:1] != RESULT_TAG:
        return None
    heads: list[bytes] = []
    outputs: list[tuple[bytes, bytes]] = []
    size = 0
    try:
        for _, _, start, stop in _top(data):
            before = start
            for number, kind, inner, end in _fields(data, start, stop):
                if number == _OUTPUTS_FIELD and kind == _BYTES:
                    output = _carved(data, inner, end, _DATA_FIELD)
                    if output is None or len(outputs) == MAX_OUTPUTS:
                        return None
                    outputs.append(output)
                else:
                    heads.append(data[before:end])
                    size += end - before
                    if size > SMALL_BYTES:
                        return None
                before = end
    except _Broken:
        return None
    return b"".join(heads), outputs


def carved_chunk(data: bytes, long_field: int, most: int) -> tuple[dict[int, int], bytes] | None:
    """The numbers of the one message in `data`, and its last field, `long_field`, of bytes.

    None where it holds anything else, or where `most` bytes are not enough for the rest.
    """
    numbers: dict[int, int] = {}
    try:
        for _, _, start, stop in _top(data):
            for number, kind, value, end in _fields(data, start, stop):
                if number == long_field and kind == _BYTES:
                    return (numbers, data[value:end]) if end == stop else None
                if kind != _VARINT or end - start > most:
                    return None
                numbers[number] = value
    except _Broken:
        return None
    return None


def _top(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """The one field that a message is."""
    for field in _fields(data, 0, len(data)):
        if field[1] != _BYTES or field[3] != len(data):
            raise _Broken
        yield field


def _carved(data: bytes, start: int, stop: int, long_field: int) -> tuple[bytes, bytes] | None:
    """What lies between `start` and `stop` but the first `long_field`, and its content; None where that is long."""
    before = start
    if stop - start > SMALL_BYTES:
        for number, kind, inner, end in _fields(data, start, stop):
            if number == long_field and kind == _BYTES:
                head = data[start:before] + data[end:stop]
                return (head, data[inner:end]) if len(head) <= SMALL_BYTES else None
            if end - start > SMALL_BYTES:
                return None
            before = end
        return None
    return data[start:stop], b""


def _first_varint(data: bytes, start: int, stop: int) -> int:
    for number, kind, value, _ in _fields(data, start, stop, clip=True):
        if number == 1 and kind == _VARINT:
            return value if value < 1 << 64 else 0
    return 0


def _fields(data: bytes, start: int, stop: int, *, clip: bool = False) -> Iterator[tuple[int, int, int, int]]:
    """(number, kind, start, stop) of each field; a varint's value stands in `start`."""
    position = start
    while position < stop:
        tag = data[position]
        position += 1
        if tag > 0x7F:
            tag, position = _varint(data, position - 1, stop)
        number, kind = tag >> 3, tag & 7
        if not kind & ~_BYTES:  # a varint, or bytes behind one
            if position < stop and data[position] < 0x80:  # most are of one byte
                value, position = data[position], position + 1
            else:
                value, position = _varint(data, position, stop)
            if kind == _VARINT:
                yield number, kind, value, position
                continue
            length = value
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise _Broken
        end = position + length
        if end > stop:
            if not clip:
                raise _Broken
            end = stop
        yield number, kind, position, end
        position = end


def _varint(data: bytes, position: int, stop: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= stop:
            raise _Broken
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise _Broken
