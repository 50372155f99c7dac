"""How much of long frames may be on its way, and in how large parts: from the measured rate and delay of the link.

What has been given to a socket can no longer be overtaken, and on a thin link it may wait there for seconds. So parts
of long frames leave only while what is unconfirmed is little more than the bandwidth-delay product: enough to keep the
link busy and to find out when it has become faster. As in BBR (Cardwell et al., 2016) the rate is the most that was
delivered in the time of one confirmation, of late, and the delay is that of a part with nothing in front of it.
"""

from __future__ import annotations

from collections import deque
from typing import Final

_LEAST_CHUNK_BYTES: Final = 4 << 10
_FIRST_CHUNK_BYTES: Final = 16 << 10
"""Before anything is known."""
_MOST_CHUNK_BYTES: Final = 256 << 10
_CHUNK_S: Final = 0.01
"""A chunk takes the link about so long, and an urgent frame waits so long for it."""
_GAIN: Final = 1.25
_QUEUE_S: Final = 0.01
"""What is sent beyond the product: a share of it, and as much as passes in this time."""
_RATE_MEMORY_S: Final = 3.0
_DELAY_MEMORY: Final = 4
_DELAY_AGE_S: Final = 10.0
"""When the delay was measured longer ago, everything is waited for once, so that it can be measured again."""
_TELLING_BYTES: Final = 16 << 10
"""Frames of this length and more, sent whole, say something about the rate."""


class Window:
    """Belongs to one stream. Times are monotonic seconds of the caller's clock."""

    def __init__(self) -> None:
        self._sent_bytes = 0
        self._received_bytes = 0
        self._received_s = 0.0
        self._chunks: deque[tuple[int, float, int, float, bool]] = deque()
        """On the way: the count up to a chunk's end, when it left, what had been received when, and whether the way
        was empty."""
        self._rates: deque[tuple[float, float]] = deque()
        """(when, bytes per second), only those that were not exceeded since."""
        self._delays: deque[float] = deque(maxlen=_DELAY_MEMORY)
        self._measured_s = 0.0
        """When something was last sent with nothing on the way."""

    @property
    def rate(self) -> float | None:
        """Bytes per second, None before anything was delivered."""
        return self._rates[0][1] if self._rates else None

    @property
    def chunk_bytes(self) -> int:
        """Longer messages go in parts of this length."""
        if not self._rates:
            return _FIRST_CHUNK_BYTES
        return int(min(max(self._rates[0][1] * _CHUNK_S, _LEAST_CHUNK_BYTES), _MOST_CHUNK_BYTES))

    @property
    def has_room(self) -> bool:
        """Whether one more chunk may leave."""
        return self.has_room_for(self.chunk_bytes)

    def has_room_for(self, size: int) -> bool:
        """Whether a chunk of so many bytes may leave: the last of a frame is often a short one."""
        if not self._chunks:
            return True
        if self._received_s - self._measured_s > _DELAY_AGE_S:
            return False
        product = 0.0
        if self._rates and self._delays:
            product = self._rates[0][1] * (_GAIN * min(self._delays) + _QUEUE_S)
        return self._sent_bytes - self._received_bytes + size <= max(product, 2 * self.chunk_bytes)

    def sent(self, size: int, now_s: float) -> None:
        """A chunk leaves."""
        empty = not self._chunks
        if empty:
            self._measured_s = now_s
        self._sent_bytes += size
        since_s = max(self._received_s, self._measured_s)  # a pause before the frame says nothing about the rate
        self._chunks.append((self._sent_bytes, now_s, self._received_bytes, since_s, empty))

    def received(self, count: int, now_s: float) -> None:
        """So many bytes of chunks have arrived since the stream began; a count that cannot be is ignored."""
        if not self._received_bytes < count <= self._sent_bytes:
            return
        self._received_bytes, self._received_s = count, now_s
        while self._chunks and self._chunks[0][0] <= count:
            _, sent_s, before, since_s, empty = self._chunks.popleft()
            self._note(count - before, now_s - since_s, now_s)
            if empty:
                self._delays.append(now_s - sent_s)

    def answered(self, size: int, seconds: float, now_s: float) -> None:
        """A frame sent whole was `seconds` on its way, to the tier and back; the tier's own time is not in it."""
        if size >= _TELLING_BYTES:
            self._note(size, seconds, now_s)

    def _note(self, size: int, seconds: float, now_s: float) -> None:
        rate = size / max(seconds, 1e-6)
        while self._rates and self._rates[-1][1] <= rate:
            self._rates.pop()
        self._rates.append((now_s, rate))
        while self._rates[0][0] < now_s - _RATE_MEMORY_S:
            self._rates.popleft()
