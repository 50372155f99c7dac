"""Which numbered messages have been seen: a window over the newest, as IPsec has it (RFC 6479)."""

from __future__ import annotations

from typing import Final

WINDOW: Final = 4096
"""A message that is this much older than the newest is taken for seen."""


class Seen:
    """The numbers of one sender. Costs the same however many there were."""

    def __init__(self) -> None:
        self._newest = 0
        self._bits = 0
        """Bit `n` is set where `newest - n` has been seen."""

    def is_new(self, number: int) -> bool:
        """Whether a number, from 1, comes for the first time; it is then noted."""
        if number > self._newest:
            shift = number - self._newest
            self._bits = 1 if shift >= WINDOW else (self._bits << shift | 1) & ((1 << WINDOW) - 1)
            self._newest = number
            return True
        behind = self._newest - number
        if number < 1 or behind >= WINDOW or self._bits >> behind & 1:
            return False
        self._bits |= 1 << behind
        return True

    def has(self, number: int) -> bool:
        """Whether a number has come, or would be taken for one that has; nothing is noted."""
        behind = self._newest - number
        return behind >= 0 and (number < 1 or behind >= WINDOW or bool(self._bits >> behind & 1))
