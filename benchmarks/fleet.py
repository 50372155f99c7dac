"""A hundred thousand devices in simulated time; fifty real ones against their prediction; the library's check.

Takes about six minutes, and an otherwise idle machine: on a busy one the misses of the real programs are the machine's.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence

from benchmarks import fleet_live
from benchmarks.figure import Figure
from testbed.fleet.run import serve
from testbed.fleet.settings import Fleet
from testbed.scenarios import library

RUNS = 3
VALIDATIONS = 5
FEW, MANY = 1_000, 100_000
EACH_EDGE = 200
"""Devices of an edge in the fleet."""


def figures() -> Sequence[Figure]:
    """Speed, growth and memory of the simulator, its prediction of real processes, and the library's check."""
    return [Figure.of_runs("validating the library", _validating_s(), "s", 1.0, "below"), *simulator(),
            *fleet_live.figures()]  # fmt: skip


def simulator() -> list[Figure]:
    """Speed against real time, growth of the cost, memory."""
    few, many = ([_serving_s(devices) for _ in range(RUNS)] for devices in (FEW, MANY))
    simulated_s = _of(MANY).seconds + _of(MANY).warm_up_s
    growth = [late / early / (MANY / FEW) for early, late in zip(few, many, strict=True)]
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return [
        Figure.of_runs(f"{MANY:,} devices at 1 frame/s", [simulated_s / one for one in many], "times real time", 10.0,
                       "at least"),
        Figure.of_runs(f"cost of a device among {MANY:,}", growth, "times", 1.0, "at most", f"among {FEW:,}"),
        Figure("memory of this process at most", peak_bytes / 2**30, "GiB", 4.0),
    ]  # fmt: skip


def _of(devices: int) -> Fleet:
    return Fleet(devices=devices, edges=max(devices // EACH_EDGE, 1), first_s=0.002, each_s=0.003)


def _serving_s(devices: int) -> float:
    began_s = time.process_time()
    serve(_of(devices))
    return time.process_time() - began_s


def _validating_s() -> list[float]:
    taken = []
    for _ in range(VALIDATIONS):
        began_s = time.perf_counter()
        for name in library.names():
            library.open_scenario(name)[1].played()
        taken.append(time.perf_counter() - began_s)
    return taken
