"""How many fragments a message is worth on a link that loses a measured share of them."""

from __future__ import annotations

from functools import lru_cache
from math import comb
from typing import Final, NamedTuple

from protocol.fragments import HEAD_BYTES, MOST_NEEDED

DATAGRAM_BYTES: Final = 1150
"""The longest datagram that fits into the smallest QUIC packet that every path carries (RFC 9000, 14)."""
_OVERHEAD_BYTES: Final = 70
"""Of a packet beyond its fragment: IP, UDP, QUIC and ours."""
_FAILURE: Final = 0.01
"""Messages that may need more fragments than were sent at once."""
_MOST_FURTHER: Final = 6
"""Beyond as many as are needed."""
_FIRST_GUESS: Final = 0.02
_WINDOW: Final = 30
"""Fragments that one measurement is made of."""
_WEIGHT: Final = 0.3
"""Of the latest measurement."""
_MOST_LOSS: Final = 0.5


class Parts(NamedTuple):
    """How a message goes: as so many fragments, any `needed` of which are enough."""

    needed: int
    further: int


@lru_cache(maxsize=512)
def parts_for(size: int, loss_percent: int) -> Parts:
    """The fewest bytes on the link with which at most 1 % of messages need more, losses being independent.

    Fragments that fill less than half a packet are not considered: two would travel, and be lost, together.

    Args:
        size: bytes of the message.
        loss_percent: 0 to 50.
    """
    most_bytes = DATAGRAM_BYTES - HEAD_BYTES
    least = -(-size // most_bytes)
    most = min(MOST_NEEDED, max(least, 2 * size // most_bytes))
    found = []
    for needed in range(least, most + 1):
        further = 0
        while further < needed + _MOST_FURTHER and _failure(needed, further, loss_percent / 100) > _FAILURE:
            further += 1
        found.append(((needed + further) * (size / needed + _OVERHEAD_BYTES), Parts(needed, further)))
    return min(found)[1]


def _failure(needed: int, further: int, loss: float) -> float:
    """Probability that more than `further` of all fragments are lost."""
    sent = needed + further
    return 1.0 - sum(comb(sent, lost) * loss**lost * (1 - loss) ** (sent - lost) for lost in range(further + 1))


class Loss:
    """The share of fragments that are lost, from how many were sent and how many the other end has counted."""

    def __init__(self) -> None:
        self.share = _FIRST_GUESS
        self._sent = 0
        self._received = 0

    @property
    def percent(self) -> int:
        return round(100 * self.share)

    def counted(self, sent: int, received: int) -> None:
        """Of the first `sent` fragments `received` came; both only grow, and a pair that does not is ignored."""
        sent_since, received_since = sent - self._sent, received - self._received
        if sent_since < _WINDOW or received_since < 0:
            return
        measured = min(max(1.0 - received_since / sent_since, 0.0), _MOST_LOSS)
        self.share += _WEIGHT * (measured - self.share)
        self._sent, self._received = sent, received
