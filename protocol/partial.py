"""Frames whose payload is a set of packets (`protocol.packets`), as frames of one packet each, and together again.

For transports that lose: what has not come in time is done without. Experimental. The caller of `Partial` passes the
time in; there is no clock here.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import Final

from google_crc32c import value as _crc32c

from protocol import packets
from protocol.errors import BitstreamError, Code, RemoteProtocolError
from protocol.fragments import MOST_MESSAGE_BYTES
from protocol.messages import Frame, decode_upward, encode_upward

MOST_UNFINISHED: Final = 64
"""Frames of which some packets have come; the oldest is told as it is for one more."""
PATIENCE: Final = 0.5
"""The share of a frame's remaining time that is waited for the rest of its packets."""
_REMEMBERED: Final = 256
"""Frames that were told, so that what comes late is known for that."""


def split_frame(message: bytes) -> list[bytes]:
    """One message for each packet of a frame, the first packet's first; of any other message itself alone."""
    frame = decode_upward(message)
    parts = packets.apart(frame.payload) if isinstance(frame, Frame) else None
    if not isinstance(frame, Frame) or parts is None or len(parts) < 2:
        return [message]
    return [encode_upward(_with(frame, [part], frame.remaining_us)) for part in parts]


@dataclass(slots=True)
class _Unfinished:
    frame: Frame
    """The first that came; all have its head."""
    count: int
    first_s: float
    packets: dict[int, bytes] = field(default_factory=dict)

    @property
    def due_s(self) -> float:
        return self.first_s + PATIENCE * 1e-6 * self.frame.remaining_us

    def message(self, now_s: float) -> bytes:
        """The frame with what there is of it."""
        waited_us = 1e6 * (now_s - self.first_s)
        remaining_us = round(max(0.0, self.frame.remaining_us - waited_us))
        found = [part for _, part in sorted(self.packets.items())]
        return encode_upward(_with(self.frame, found, remaining_us))


class Partial:
    """Frames put together again, each told once: whole, or when it is time with what there is. Bounded."""

    def __init__(self) -> None:
        self._unfinished: OrderedDict[tuple[object, ...], _Unfinished] = OrderedDict()
        self._told: OrderedDict[tuple[object, ...], None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._unfinished)

    @property
    def next_s(self) -> float:
        """When `overdue` has something to tell; infinite if never."""
        return min((one.due_s for one in self._unfinished.values()), default=math.inf)

    def add(self, message: bytes, now_s: float) -> list[bytes]:
        """Take a message that came; those that can be passed on now. What is no packet of a frame passes as it is.

        Raises:
            RemoteProtocolError: it contradicts others of the same frame, or they are too long together.
        """
        try:
            frame = decode_upward(message)
            parts = packets.apart(frame.payload) if isinstance(frame, Frame) else None
            if not isinstance(frame, Frame) or parts is None or len(parts) != 1:
                return [message]
            number, count = packets.place_of(parts[0])
        except (RemoteProtocolError, BitstreamError):
            return [message]  # the session says what is wrong with it
        if count == 1:
            return [message]
        key = (frame.id, frame.captured_us, frame.remaining_us)
        if key in self._told:
            return []
        found = self._unfinished.setdefault(key, _Unfinished(frame, count, now_s))
        if found.count != count or _head_of(found.frame) != _head_of(frame):
            raise RemoteProtocolError(Code.MALFORMED, f"packets of frame {frame.id} contradict each other")
        found.packets[number] = parts[0]
        if sum(map(len, found.packets.values())) > MOST_MESSAGE_BYTES:
            raise RemoteProtocolError(Code.TOO_LONG, f"packets of frame {frame.id} are longer than a message may be")
        if len(found.packets) == count:
            return [self._tell(key, now_s)]
        if len(self._unfinished) > MOST_UNFINISHED:
            return [self._tell(next(iter(self._unfinished)), now_s)]
        return []

    def overdue(self, now_s: float) -> list[bytes]:
        """The frames that are not waited for any longer, with what there is of them."""
        due = [key for key, one in self._unfinished.items() if one.due_s <= now_s]
        return [self._tell(key, now_s) for key in due]

    def _tell(self, key: tuple[object, ...], now_s: float) -> bytes:
        self._told[key] = None
        if len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)
        return self._unfinished.pop(key).message(now_s)


def _with(frame: Frame, parts: list[bytes], remaining_us: int) -> Frame:
    payload = packets.together(parts)
    return replace(frame, payload=payload, crc32c=int(_crc32c(payload)), remaining_us=remaining_us)


def _head_of(frame: Frame) -> Frame:
    return replace(frame, payload=b"", crc32c=0)
