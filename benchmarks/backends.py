"""The same five scenarios on every backend that this machine can play, in turn; on an otherwise idle machine.

A backend that cannot be played here has figures without a value that holds: it is reported as not run.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.figure import Figure
from isthmus.cli.testbed import suppliers
from testbed.backends.backend import why_unplayable
from testbed.backends.calibration import Calibration, calibrate
from testbed.backends.named import backend_named
from testbed.results.figures import ALL
from testbed.running import run_scenario
from testbed.scenarios import library

SCENARIOS = ("office-wifi", "asymmetric", "satellite", "elevator", "tunnel")
"""Links that are fast, thin one way, far, and gone for a while."""
OTHERS = ("netns", "docker", "simulated")
RUNS = 3
LIMIT = 0.1
FEW = 0.1
"""Where fewer frames are missed, the difference counts against so many."""


def figures() -> Sequence[Figure]:
    """Mean latency and miss rate of the others against `process`, over all repetitions.

    Simulated time has this machine's own timings, found first.
    """
    found = []
    timings = _timings()
    for name in SCENARIOS:
        runs: dict[str, list[Mapping[str, float]]] = {}
        for seed in range(1, RUNS + 1):
            for backend in ("process", *OTHERS):
                if not _reasons(name, backend):
                    runs.setdefault(backend, []).append(_played(name, backend, seed, timings))
        for backend in OTHERS:
            found += _against(name, backend, runs) if backend in runs else [_not_run(name, backend)]
    return found


def _timings() -> Calibration:
    with tempfile.TemporaryDirectory() as folder:
        return calibrate(suppliers()["digits"](Path(folder) / "inputs"), Path(folder) / "runs")


def _played(name: str, backend: str, seed: int, timings: Calibration) -> Mapping[str, float]:
    """Figures over all devices."""
    scenario = library.open_scenario(name, {"repetitions": 1, "seed": seed})[1]
    with tempfile.TemporaryDirectory() as folder:
        run = run_scenario(name, scenario, backend_named(backend, timings), Path(folder) / "run", suppliers())
    return run.repetitions[0].figures[ALL]


def _against(name: str, backend: str, runs: Mapping[str, Sequence[Mapping[str, float]]]) -> list[Figure]:
    """The means over all repetitions: what one frame more or less does to a single one is no difference of backends."""
    latency_s, other_s = (_mean(runs[one], "mean_latency_s") for one in (backend, "process"))
    missed, other = (_mean(runs[one], "deadline_miss_rate") for one in (backend, "process"))
    return [
        Figure(f"{name}, {backend}: latency off by", abs(latency_s / other_s - 1), "share", LIMIT, "at most",
               f"process: {1e3 * other_s:.1f} ms, {backend}: {1e3 * latency_s:.1f} ms"),
        Figure(f"{name}, {backend}: misses off by", abs(missed - other) / max(other, FEW), "share", LIMIT, "at most",
               f"process: {other:.1%}, {backend}: {missed:.1%}; of process, or of a tenth of all"),
    ]  # fmt: skip


def _mean(runs: Sequence[Mapping[str, float]], figure: str) -> float:
    return statistics.fmean(one[figure] for one in runs)


def _not_run(name: str, backend: str) -> Figure:
    return Figure(f"{name}, {backend}", 0.0, "not run", against="; ".join(_reasons(name, backend)))


def _reasons(name: str, backend: str) -> list[str]:
    """Why the backend cannot play the scenario here."""
    return why_unplayable(backend_named(backend), library.open_scenario(name)[1])
