"""A look at a protobuf message without parsing it: which frame it is about, and whether it is worth parsing.

protobuf turns two bytes of an empty nested message into an object of some hundred bytes, so a few megabytes from a
hostile peer could become hundreds. This walk counts fields first and never allocates more than one integer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from protocol.limits import MAX_FIELDS

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SMALL: Final = 4096
"""Messages up to this size are not walked: whatever they become is small."""
_FRAME_FIELD: Final = 2
_RESULT_FIELD: Final = 2
_OUTPUTS_FIELD: Final = 2
_SHORT: Final = 1024
"""Bytes of a name or of a list of numbers."""
_LONG_FIELDS: Final = {4, 6}
"""Numbers of the fields that may be longer: a tensor's data and a frame's payload."""


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


def is_plain(data: bytes) -> bool:
    """Whether the bytes are worth parsing: few fields in all, and long ones only where `isthmus.proto` has them."""
    if len(data) <= _SMALL:
        return True
    try:
        return all(_is_plain_kind(data, number, start, stop) for number, _, start, stop in _top(data))
    except _Broken:
        return False


def _top(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    for count, field in enumerate(_fields(data, 0, len(data))):
        if count or field[1] != _BYTES:
            raise _Broken
        yield field


def _is_plain_kind(data: bytes, kind_number: int, start: int, stop: int) -> bool:
    budget = MAX_FIELDS
    for number, kind, inner, end in _fields(data, start, stop):
        budget -= 1
        if kind == _BYTES and kind_number == _RESULT_FIELD and number == _OUTPUTS_FIELD:
            for tensor_number, tensor_kind, tensor_inner, tensor_end in _fields(data, inner, end):
                budget -= 1
                if budget < 0 or _is_too_long(tensor_number, tensor_kind, tensor_end - tensor_inner):
                    return False
        elif _is_too_long(number, kind, end - inner):
            return False
        if budget < 0:
            return False
    return True


def _is_too_long(number: int, kind: int, nbytes: int) -> bool:
    return kind == _BYTES and nbytes > _SHORT and number not in _LONG_FIELDS


def _first_varint(data: bytes, start: int, stop: int) -> int:
    for number, kind, value, _ in _fields(data, start, stop, clip=True):
        if number == 1 and kind == _VARINT:
            return value if value < 1 << 64 else 0
    return 0


def _fields(data: bytes, start: int, stop: int, *, clip: bool = False) -> Iterator[tuple[int, int, int, int]]:
    """(number, kind, start, stop) of each field; a varint's value stands in `start`."""
    position = start
    while position < stop:
        tag, position = _varint(data, position, stop)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, position = _varint(data, position, stop)
            yield number, kind, value, position
            continue
        if kind == _BYTES:
            length, position = _varint(data, position, stop)
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
