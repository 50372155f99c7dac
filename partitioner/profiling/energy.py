"""Watts of computing, from the processor's energy counters (RAPL) where Linux lets us read them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from partitioner.profiling.machine import Power

COUNTERS = Path("/sys/class/powercap")


class Counters:
    """The packages' energy counters, in microjoules; they wrap around at a stated value.

    Args:
        folder: where Linux shows them. Often readable by root only.
    """

    def __init__(self, folder: Path = COUNTERS) -> None:
        self._zones = []
        for zone in sorted(folder.glob("intel-rapl:*")):
            if zone.name.count(":") == 1:  # a package; its parts are counted in it
                try:
                    self._zones.append((zone / "energy_uj", int((zone / "max_energy_range_uj").read_text())))
                    self._zones[-1][0].read_text()
                except (OSError, ValueError):
                    self._zones = []
                    return

    @property
    def readable(self) -> bool:
        """Whether there is a counter, and all can be read."""
        return bool(self._zones)

    def read(self) -> tuple[int, ...]:
        return tuple(int(path.read_text()) for path, _ in self._zones)

    def joules_between(self, before: tuple[int, ...], after: tuple[int, ...]) -> float:
        """Energy between two readings that lie less than one wrap apart."""
        spans = zip(before, after, (wrap for _, wrap in self._zones), strict=True)
        return sum((end - begin if end >= begin else end - begin + wrap) for begin, end, wrap in spans) / 1e6


def measured_power(
    counters: Counters,
    work: Callable[[], object],
    *,
    busy_s: float = 2.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Power | None:
    """What running `work` over and over adds to the draw of an idle machine; None without readable counters.

    Args:
        busy_s: seconds to run it, after as many of doing nothing.
    """
    if not counters.readable:
        return None
    idle = _watts(counters, lambda: sleep(busy_s), busy_s, clock)
    busy = _watts(counters, work, busy_s, clock)
    return Power(watts=max(0.0, busy - idle), source="measured")


def _watts(counters: Counters, work: Callable[[], object], least_s: float, clock: Callable[[], float]) -> float:
    before, began = counters.read(), clock()
    while True:
        work()
        took = clock() - began
        if took >= least_s:
            return counters.joules_between(before, counters.read()) / took
