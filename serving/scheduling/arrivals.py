"""How often frames of each kind come, as far as the recent past tells."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp
from typing import Final

from serving.scheduling.jobs import Path

_SHARE_OF_NEWEST: Final = 0.1
_ENOUGH: Final = 8
"""Gaps seen before anything is expected."""
_FADES_S: Final = 1.0
"""Time constant of the rate of all frames together."""


@dataclass(slots=True)
class _Seen:
    last_s: float
    gap_s: float = 0.0
    gaps: int = 0


class Arrivals:
    """Mean gap between frames by path, and the rate of those taken; exponentially weighted."""

    def __init__(self) -> None:
        self._paths: dict[Path, _Seen] = {}
        self._recent = 0.0
        self._recent_s = 0.0

    def learn(self, path: Path, now_s: float) -> None:
        """A frame came."""
        seen = self._paths.get(path)
        if seen is None:
            self._paths[path] = _Seen(now_s)
            return
        seen.gaps += 1
        seen.gap_s += max(_SHARE_OF_NEWEST, 1 / seen.gaps) * (now_s - seen.last_s - seen.gap_s)
        seen.last_s = now_s

    def count(self, now_s: float) -> None:
        """A frame was taken, of whatever path, that goes before those of greedy senders."""
        self._recent = self._faded(now_s) + 1.0
        self._recent_s = now_s

    def per_s(self, now_s: float) -> float:
        """Such frames in a second of late: about as many will come."""
        return self._faded(now_s) / _FADES_S

    def _faded(self, now_s: float) -> float:
        return self._recent * exp((self._recent_s - now_s) / _FADES_S)

    def gap_s(self, path: Path) -> float | None:
        """Seconds expected between two frames; None where too few have come."""
        seen = self._paths.get(path)
        return None if seen is None or seen.gaps < _ENOUGH else seen.gap_s

    def last_s(self, path: Path) -> float:
        """When the last one came.

        Raises:
            KeyError: none ever did.
        """
        return self._paths[path].last_s
