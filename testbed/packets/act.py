"""What becomes of packets at one place of a link."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, runtime_checkable

from testbed.packets.packet import Packet

Act = Callable[[Packet], Iterable[Packet]]
"""What becomes of a packet: nothing, itself at the same or a later time, or several."""


@runtime_checkable
class Holding(Protocol):
    """An act that keeps packets and decides on them later."""

    def __call__(self, packet: Packet) -> Iterable[Packet]:
        """A packet comes; gives what is decided by then."""
        ...

    @property
    def next_s(self) -> float:
        """When it decides next; infinite if it keeps nothing."""
        ...

    def released(self, now_s: float) -> Sequence[Packet]:
        """What it has decided by now to let through."""
        ...
