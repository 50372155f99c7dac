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
from testbed.backends.named import backend_named
from testbed.results.figures import ALL
from testbed.running import run_scenario
from testbed.scenarios import library

SCENARIOS = ("office-wifi", "narrowband", "rural-3g", "asymmetric", "satellite")
OTHERS = ("netns", "docker", "simulated")
RUNS = 3
LIMIT = 0.1
FEW = 0.1
"""Where fewer frames are missed, the difference counts against so many."""


def figures() -> Sequence[Figure]:
    """Mean latency and miss rate of the others against `process`, medians of the repetitions."""
    found = []
    for name in SCENARIOS:
        runs: dict[str, list[Mapping[str, float]]] = {}
        for seed in range(1, RUNS + 1):
            for backend in ("process", *OTHERS):
                if not _reasons(name, backend):
                    runs.setdefault(backend, []).append(_played(name, backend, seed))
        for backend in OTHERS:
            found += _against(name, backend, runs) if backend in runs else [_not_run(name, backend)]
    return found


def _played(name: str, backend: str, seed: int) -> Mapping[str, float]:
    """Figures over all devices."""
    scenario = library.open_scenario(name, {"repetitions": 1, "seed": seed})[1]
    with tempfile.TemporaryDirectory() as folder:
        run = run_scenario(name, scenario, backend_named(backend), Path(folder) / "run", suppliers())
    return run.repetitions[0].figures[ALL]


def _against(name: str, backend: str, runs: Mapping[str, Sequence[Mapping[str, float]]]) -> list[Figure]:
    pairs = list(zip(runs[backend], runs["process"], strict=True))
    latency = [abs(one["mean_latency_s"] / other["mean_latency_s"] - 1) for one, other in pairs]
    rates = [(one["deadline_miss_rate"], other["deadline_miss_rate"]) for one, other in pairs]
    misses = [abs(one - other) / max(other, FEW) for one, other in rates]
    told = f"process: {1e3 * statistics.median(other['mean_latency_s'] for _, other in pairs):.0f} ms"
    return [
        Figure.of_runs(f"{name}, {backend}: latency off by", latency, "share", LIMIT, "at most", told),
        Figure.of_runs(
            f"{name}, {backend}: misses off by", misses, "share", LIMIT, "at most", "process, or a tenth of all"
        ),
    ]


def _not_run(name: str, backend: str) -> Figure:
    return Figure(f"{name}, {backend}", 0.0, "not run", against="; ".join(_reasons(name, backend)))


def _reasons(name: str, backend: str) -> list[str]:
    """Why the backend cannot play the scenario here."""
    return why_unplayable(backend_named(backend), library.open_scenario(name)[1])
