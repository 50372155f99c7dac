"""Bytes that no honest encoder writes."""

from __future__ import annotations

from typing import Any

from protocol import isthmus_pb2 as pb


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, content: bytes) -> bytes:
    """A field of bytes, whatever it is."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def hello(**fields: Any) -> bytes:
    fields = {"version": 1, "sender": "rude"} | fields
    return bytes(pb.Upward(hello=pb.Hello(**fields)).SerializeToString())


def result(**fields: Any) -> bytes:
    fields = {"id": 1, "answered_by": "edge"} | fields
    return bytes(pb.Downward(result=pb.Result(**fields)).SerializeToString())


def tensor(**fields: Any) -> pb.Tensor:
    return pb.Tensor(**({"name": "logits", "dtype": "uint8", "shape": [2], "data": b"ab"} | fields))


def welcome(**fields: Any) -> bytes:
    fields = {"version": 1, "tier": "edge", "credits": 4, "max_payload_bytes": 1000} | fields
    return bytes(pb.Downward(welcome=pb.Welcome(**fields)).SerializeToString())
