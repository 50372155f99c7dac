"""How much may be on its way, and in how large parts: from the measured rate and delay of the link.

What has been given to a socket can no longer be overtaken, and on a thin link it may wait there for seconds. So frames
leave only while what has not certainly arrived is little more than the bandwidth-delay product: enough to keep the link
busy and to find out when it has become faster. As in BBR (Cardwell et al., 2016) the rate is the most that was
delivered in the time of one confirmation, of late, and the delay is that of a part with no other in front of it.

A stream keeps its order, so a confirmed chunk, and an answer, vouch for all that left before. Once a tier has been
silent for much longer than that can take, short frames are held back no longer: what has left and is not answered shows
whoever sent it that the tier is silent, and what waits here does not.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final, NamedTuple

_LEAST_CHUNK_BYTES: Final = 4 << 10
_FIRST_CHUNK_BYTES: Final = 16 << 10
"""Before anything is known."""
_MOST_CHUNK_BYTES: Final = 256 << 10
_CHUNK_S: Final = 0.01
"""A chunk takes the link about so long, and an urgent frame waits so long for it."""
_GAIN: Final = 1.25
_QUEUE_S: Final = 0.01
"""What is sent beyond the product: a share of it, and as much as passes in this time."""
_FIRST_PATIENCE_S: Final = 2.0
_LEAST_PATIENCE_S: Final = 0.1
_PATIENCE: Final = 2.0
"""A tier is silent when nothing was heard for so many times as long as a whole window takes, and the least."""
_RATE_MEMORY_S: Final = 3.0
_DELAY_MEMORY: Final = 4
_DELAY_AGE_S: Final = 10.0
"""When the delay was measured longer ago, everything is waited for once, so that it can be measured again."""
_TELLING_BYTES: Final = 16 << 10
"""Frames of this length and more, sent whole, say something about the rate."""


class Mark(NamedTuple):
    """A place in the stream: bytes of all frames that left up to there, and of those that left whole."""

    end: int
    whole: int


class _Underway(NamedTuple):
    """A chunk on its way."""

    total: int
    """Bytes of all chunks up to its end, which is what its confirmation says."""
    mark: Mark
    """Up to its end."""
    sent_s: float
    since: Mark
    since_s: float
    since_sent_s: float
    """What lies between this place and its end left after `since_sent_s`, and arrived between `since_s` and its
    confirmation."""
    is_first: bool
    """No other chunk was on the way."""
    is_part: bool
    is_telling: bool


class Window:
    """Belongs to one stream. Times are monotonic seconds of the caller's clock."""

    def __init__(self) -> None:
        self.chunk_bytes = _FIRST_CHUNK_BYTES
        """Longer messages go in parts of this length."""
        self.most_bytes = 2 * _FIRST_CHUNK_BYTES
        """What may be on the way."""
        self._unasked_bytes = self.most_bytes // 4
        """What may leave whole before something is to be confirmed."""
        self._patience_s = _FIRST_PATIENCE_S
        self._heard_s = 0.0
        """When something arrived, or left after all had."""
        self._sent_bytes = 0
        self._received_bytes = 0
        self._received_s = 0.0
        self._left = self._arrived = Mark(0, 0)
        """How far frames have left, and how far they have certainly arrived."""
        self._asked = 0
        """What had left whole when a chunk last left: its confirmation will vouch for that."""
        self._since, self._since_s, self._since_sent_s = self._left, 0.0, 0.0
        """How far they had when a chunk was last confirmed, or sent with no other on the way; when that was, and when
        it had left."""
        self._chunks: deque[_Underway] = deque()
        self._rates: deque[tuple[float, float]] = deque()
        """(when, bytes per second), only those that were not exceeded since."""
        self._delays: deque[float] = deque(maxlen=_DELAY_MEMORY)
        self._measured_s = 0.0
        """When a chunk was last sent with no other on the way."""

    @property
    def rate(self) -> float | None:
        """Bytes per second, None before anything was delivered."""
        return self._rates[0][1] if self._rates else None

    def lets_go(self, size: int) -> bool:
        """Whether a frame of so many bytes may leave unconfirmed: few left so since something was to be confirmed."""
        whole, vouched = self._left.whole, self._arrived.whole
        if whole == vouched:
            return True
        unasked = whole - max(vouched, self._asked)
        return unasked + size <= self._unasked_bytes and whole - vouched + size <= self.most_bytes

    def has_room_for(self, size: int) -> bool:
        """Whether a chunk of so many bytes may leave: the last of a frame is often a short one."""
        if not self._chunks:
            return True
        if self._received_s - self._measured_s > _DELAY_AGE_S:
            return False
        return self._left.end - self._arrived.end + size <= self.most_bytes

    def silent_in_s(self, now_s: float) -> float:
        """In how many seconds the tier counts as silent if nothing is heard until then; 0 or less: it does now."""
        return self._heard_s + self._patience_s - now_s

    def sent_whole(self, size: int, now_s: float) -> Mark:
        """A frame leaves that is not confirmed; what `arrived` is to be told when it is answered."""
        self._leaves(now_s)
        end, whole = self._left
        self._left = Mark(end + size, whole + size)
        return self._left

    def arrived(self, mark: Mark, now_s: float) -> None:
        """What left up to there has arrived."""
        if mark.end > self._arrived.end:
            self._arrived, self._heard_s = mark, now_s

    def sent(self, size: int, now_s: float, *, is_part: bool = True, is_telling: bool = True) -> None:
        """A chunk leaves.

        Args:
            is_part: of a frame in several.
            is_telling: it belongs to as much as the link takes, so its confirmation tells the rate. Otherwise it only
                shows whether the link is as good as was believed.
        """
        self._leaves(now_s)
        is_first = not self._chunks
        if is_first:  # a pause before it says nothing about the rate
            self._measured_s = now_s
            self._since, self._since_s, self._since_sent_s = self._left, now_s, now_s
        self._sent_bytes += size
        self._asked = self._left.whole
        self._left = Mark(self._left.end + size, self._left.whole)
        since = self._since, self._since_s, self._since_sent_s
        self._chunks.append(_Underway(self._sent_bytes, self._left, now_s, *since, is_first, is_part, is_telling))

    def received(self, count: int, now_s: float) -> None:
        """So many bytes of chunks have arrived since the stream began; a count that cannot be is ignored."""
        if not self._received_bytes < count <= self._sent_bytes:
            return
        self._received_bytes, self._received_s = count, now_s
        while self._chunks and self._chunks[0].total <= count:
            self._learn(self._chunks.popleft(), now_s)
        self._reckon()

    def answered(self, size: int, seconds: float, now_s: float) -> None:
        """A frame sent whole was `seconds` on its way, to the tier and back; the tier's own time is not in it."""
        if size >= _TELLING_BYTES:
            self._note(size / max(seconds, 1e-6), now_s)
            self._reckon()

    def _leaves(self, now_s: float) -> None:
        if self._left.end == self._arrived.end:
            self._heard_s = now_s

    def _learn(self, chunk: _Underway, now_s: float) -> None:
        self._since, self._since_s, self._since_sent_s = chunk.mark, now_s, chunk.sent_s
        self.arrived(chunk.mark, now_s)
        seconds, trip_s = max(now_s - chunk.since_s, 1e-6), now_s - chunk.sent_s
        if not chunk.is_part:  # what had arrived long before may be confirmed all at once
            seconds = max(seconds, chunk.sent_s - chunk.since_sent_s)
        rate = (chunk.mark.end - chunk.since.end) / seconds
        if chunk.is_telling or self._contradicts(trip_s):
            self._note(rate, now_s)
        elif self._rates:
            self._note(max(rate, self._rates[0][1]), now_s)  # as believed
        if chunk.is_first:
            self._delays.append(trip_s)

    def _contradicts(self, trip_s: float) -> bool:
        """Whether a chunk took much longer than it would on the link that is believed in."""
        if not self._rates or not self._delays:
            return False
        return trip_s > _GAIN * min(self._delays) + self.most_bytes / self._rates[0][1] + _QUEUE_S

    def _note(self, rate: float, now_s: float) -> None:
        while self._rates and self._rates[-1][1] <= rate:
            self._rates.pop()
        self._rates.append((now_s, rate))
        while self._rates[0][0] < now_s - _RATE_MEMORY_S:
            self._rates.popleft()

    def _reckon(self) -> None:
        """What follows from rate and delay."""
        if not self._rates:
            return
        rate = self._rates[0][1]
        self.chunk_bytes = int(min(max(rate * _CHUNK_S, _LEAST_CHUNK_BYTES), _MOST_CHUNK_BYTES))
        delay_s = min(self._delays, default=0.0)
        chunks = max(math.ceil(rate * (_GAIN * delay_s + _QUEUE_S) / self.chunk_bytes), 2)
        self.most_bytes = chunks * self.chunk_bytes  # a part of one that is left out is a rate that stays unseen
        self._unasked_bytes = int(max(rate * _CHUNK_S, self.most_bytes // 4))
        self._patience_s = _LEAST_PATIENCE_S + _PATIENCE * (delay_s + self.most_bytes / rate)
