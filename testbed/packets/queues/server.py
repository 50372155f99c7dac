"""What a queue waits for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from testbed.link.capacity import Capacity


@dataclass(frozen=True, slots=True)
class Server:
    """A bottleneck that takes one packet after the other.

    Attributes:
        book: when a packet of this size, ready at this second, has left, behind all that were booked before.
        size: the bytes of a packet that count.
    """

    book: Callable[[float, int], float]
    size: Callable[[bytes], int] = len


def serving(capacity: Capacity) -> Server:
    """A capacity whose time is the packets' own; whole packets count."""
    return Server(capacity.book)
