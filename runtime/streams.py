"""Streams of frames that depend on each other: the place of a frame in its stream, and what to do when a state is lost.

Where a bundle's segments keep state, each payload begins with the stream's id and the frame's step. A tier runs step n
of a stream on the state that step n - 1 left; step 0 begins anew. A tier without that state (it was killed, or has
dropped it) answers with the step from which it needs the stream again, and the sender, which keeps what it sent,
replays it. No sockets, no clocks.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from protocol.messages import Result, Tensor
from runtime.errors import UndecodablePayload

_HEAD: Final = struct.Struct("<QI")
HEAD_BYTES: Final = _HEAD.size
"""In front of the payload proper."""
MAX_STEPS: Final = 1 << 24
_LOST: Final = "isthmus.needs_stream_from"


class Place(NamedTuple):
    """Where a frame stands: `stream` is the sender's own id, 0 to 2^64 - 1; `step` counts its frames from 0."""

    stream: int
    step: int


def placed(place: Place, payload: bytes) -> bytes:
    """A payload of a frame at a place."""
    return _HEAD.pack(*place) + payload


def place_of(payload: bytes) -> tuple[Place, bytes]:
    """Where a frame stands, and its payload proper.

    Raises:
        UndecodablePayload: too short, or a step beyond any stream.
    """
    if len(payload) < HEAD_BYTES:
        raise UndecodablePayload(
            f"a payload of a bundle that keeps state begins with {HEAD_BYTES} bytes that name its stream and step"
        )
    place = Place(*_HEAD.unpack_from(payload))
    if place.step >= MAX_STEPS:
        raise UndecodablePayload(f"step {place.step} is beyond the {MAX_STEPS} that a stream may have")
    return place, payload[HEAD_BYTES:]


def needs(step: int) -> tuple[Tensor, ...]:
    """The outputs of an answer that asks for a stream from a step on."""
    return (Tensor.of(_LOST, np.array(step, np.int64)),)


def needed(result: Result) -> int | None:
    """The step from which a tier needs the stream again; None where the result is an answer proper."""
    if len(result.outputs) != 1 or result.outputs[0].name != _LOST or result.outputs[0].dtype != "int64":
        return None
    return int(result.outputs[0].array().reshape(-1)[0])


class Sent:
    """What was sent of one stream, step by step, to be sent again if need be."""

    def __init__(self) -> None:
        self._payloads: list[bytes] = []
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._payloads)

    def put(self, step: int, payload: bytes) -> None:
        """Remember a step; it replaces what was sent from it on. After a gap nothing before it is of use."""
        if step > len(self._payloads):
            self._payloads.clear()
            self.nbytes = 0
            return
        for dropped in self._payloads[step:]:
            self.nbytes -= len(dropped)
        del self._payloads[step:]
        self._payloads.append(payload)
        self.nbytes += len(payload)

    def between(self, first: int, last: int) -> Sequence[bytes] | None:
        """Steps `first` to `last - 1`; None where not all are here."""
        return self._payloads[first:last] if 0 <= first <= last <= len(self._payloads) else None
