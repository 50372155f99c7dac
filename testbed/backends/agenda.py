"""What is to go wrong when, and what really did."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count

from testbed.backends.backend import Told
from testbed.scenarios.faults import Fault, Occurrence, Stage


class Agenda:
    """Begins and ends faults in order of time. Times are seconds since the links started.

    Args:
        faults: by name.
        occurrences: when each of them comes.
        stage: what they act on.
        told: hears what happens.
    """

    def __init__(
        self, faults: Mapping[str, Fault], occurrences: Sequence[Occurrence], stage: Stage, told: Told
    ) -> None:
        self._faults = faults
        self._stage = stage
        self._told = told
        self._order = count()
        self._due = [(one.begins_s, next(self._order), one, False) for one in occurrences]
        heapq.heapify(self._due)
        self._open: dict[Occurrence, float] = {}
        self.happened: list[Occurrence] = []
        """Those that have ended, or will not end, with the times at which they really came."""

    @property
    def next_s(self) -> float:
        """When something is due next; infinite if nothing is."""
        return self._due[0][0] if self._due else math.inf

    def do(self, now_s: float) -> None:
        """Do all that is due."""
        while self._due and self._due[0][0] <= now_s:
            _, _, occurrence, ends = heapq.heappop(self._due)
            if ends:
                self._end(occurrence, now_s)
            else:
                self._begin(occurrence, now_s)

    def close(self, now_s: float) -> None:
        """End what has begun and would end later; forget what has not begun."""
        for occurrence in list(self._open):
            self._end(occurrence, now_s)
        self._due = []

    def _begin(self, occurrence: Occurrence, now_s: float) -> None:
        self._told(f"{now_s:.1f} s: {occurrence.told}")
        self._faults[occurrence.name].begin(self._stage)
        if occurrence.ends_s is None:
            self.happened.append(replace(occurrence, begins_s=now_s))
            return
        self._open[occurrence] = now_s
        heapq.heappush(self._due, (occurrence.ends_s, next(self._order), occurrence, True))

    def _end(self, occurrence: Occurrence, now_s: float) -> None:
        self._told(f"{now_s:.1f} s: end of {occurrence.told}")
        self._faults[occurrence.name].end(self._stage)
        self.happened.append(replace(occurrence, begins_s=self._open.pop(occurrence), ends_s=now_s))
