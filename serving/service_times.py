"""How long each kind of work takes here, learnt while doing it."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

_SHARE_OF_NEWEST = 0.2
_RELAXATION = 0.9


@dataclass(slots=True)
class _Seen:
    mean_s: float
    fastest_s: float


class ServiceTimes:
    """Mean and best seconds by kind of work; 0 for a kind never done."""

    def __init__(self) -> None:
        self._kinds: dict[Hashable, _Seen] = {}

    def mean_s(self, kind: Hashable) -> float:
        """Exponentially weighted mean."""
        seen = self._kinds.get(kind)
        return seen.mean_s if seen is not None else 0.0

    def fastest_s(self, kind: Hashable) -> float:
        """The best that may be hoped for."""
        seen = self._kinds.get(kind)
        return seen.fastest_s if seen is not None else 0.0

    def learn(self, kind: Hashable, took_s: float) -> None:
        """Add a measurement."""
        seen = self._kinds.get(kind)
        if seen is None:
            self._kinds[kind] = _Seen(took_s, took_s)
            return
        seen.mean_s += _SHARE_OF_NEWEST * (took_s - seen.mean_s)
        seen.fastest_s = min(seen.fastest_s, took_s)

    def doubt(self, kind: Hashable) -> None:
        """Work was turned away on this figure's word: believe it less, or a slow first run would lock a kind out."""
        seen = self._kinds.get(kind)
        if seen is not None:
            seen.fastest_s *= _RELAXATION
