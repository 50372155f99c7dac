"""A packet and when it is where it is."""

from __future__ import annotations

from typing import NamedTuple


class Packet(NamedTuple):
    """An IP packet, and the second at which it comes past a point of the link; infinite is never."""

    data: bytes
    at_s: float
