"""A hundred thousand devices in simulated time; the same scenarios by real programs and simulated; the library's check.

Takes about ten minutes, and an otherwise idle machine: on a busy one the misses of the real programs are the machine's.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figure import Figure
from isthmus.cli.testbed import suppliers
from testbed.backends.named import backend_named
from testbed.fleet.run import serve
from testbed.fleet.settings import Fleet
from testbed.results.figures import ALL
from testbed.running import run_scenario
from testbed.scenarios import library

SCENARIOS = ("elevator", "tunnel", "high-speed-train", "office-wifi", "narrowband")
"""What both can play."""
RUNS = 3
VALIDATIONS = 5
FEW, MANY = 1_000, 100_000
EACH_EDGE = 200
"""Devices of an edge in the fleet."""


def figures() -> Sequence[Figure]:
    """Mean latency and miss rate within 10 % of one another; all scenarios validated within a second."""
    found = [Figure.of_runs("validating the library", _validating_s(), "s", 1.0, "below"), *_fleet()]
    for name in SCENARIOS:
        real, simulated = _means(name, "process"), _means(name, "simulated")
        for figure, unit in (("mean_latency_s", "latency"), ("deadline_miss_rate", "misses")):
            against = max(simulated[figure][0], 1e-9)
            off = [abs(value / against - 1) if against > 1e-6 else value for value in real[figure]]
            found.append(Figure.of_runs(f"{name}: {unit} off by", off, "share", 0.1, "at most", "simulated"))
    return found


def _fleet() -> list[Figure]:
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


def _means(name: str, backend: str) -> dict[str, list[float]]:
    """Figures over all devices, one for each repetition."""
    scenario = library.open_scenario(name, {"repetitions": RUNS if backend == "process" else 1})[1]
    with tempfile.TemporaryDirectory() as folder:
        run = run_scenario(name, scenario, backend_named(backend), Path(folder) / "run", suppliers())
    return {figure: [one.figures[ALL][figure] for one in run.repetitions]
            for figure in ("mean_latency_s", "deadline_miss_rate")}  # fmt: skip
