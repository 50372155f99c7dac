"""The same scenarios on every backend that this machine can play; on an otherwise idle machine.

What runs real programs is kept in `results/backends`, one file for each run, and so are this machine's own timings,
which simulated time takes: it can be done in sittings, and what is there is not played again.

    python -m benchmarks.backends --play 280 [SCENARIO ...]    # again until none is left

A backend that cannot be played here is reported as not run.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from benchmarks.figure import Figure
from isthmus.cli.testbed import suppliers
from testbed.backends.backend import why_unplayable
from testbed.backends.calibration import Calibration, calibrate, read_calibration
from testbed.backends.named import backend_named
from testbed.results.figures import ALL
from testbed.running import run_scenario
from testbed.scenarios import library

KEPT = Path(__file__).parent.parent / "results" / "backends"
SCENARIOS = ("asymmetric", "satellite", "two-cameras", "office-wifi", "tunnel", "edge-crash", "backhaul-cut")
"""Links that are thin one way, far, shared, fast, and gone for a while, and tiers that are gone: two more than the five
that are promised. See docs/decisions/0220."""
PROMISED = 5
REAL = ("process", "netns", "docker")
SIMULATED = "simulated"
SEEDS = (1, 2, 3, 4)
"""The next is played when the one before has been, everywhere."""
LIMIT = 0.1
FEW = 0.1
"""Where fewer frames are missed, the difference counts against so many."""

Found = Mapping[str, float]
"""Figures of a run over all its devices."""


def figures() -> Sequence[Figure]:
    """The farthest apart of mean latency and miss rate, each the mean of all seeds that every backend has played.

    Where no seed has been played, all are played first.
    """
    if not _seeds():
        play(math.inf)
    found = []
    for name in SCENARIOS:
        runs = {backend: [_kept(name, backend, seed) for seed in _seeds()] for backend in REAL if _can(name, backend)}
        runs[SIMULATED] = [_played(name, SIMULATED, seed) for seed in _seeds()]
        found += [_not_run(name, backend) for backend in REAL if backend not in runs]
        found += [
            _apart(name, runs, "mean_latency_s", "latency", 0.0),
            _apart(name, runs, "deadline_miss_rate", "missed", FEW),
        ]
    return [*found, _alike(found)]


def play(seconds: float, names: Sequence[str] = ()) -> None:
    """Play what is missing of these scenarios, or of all, until the time is up, and say what is left."""
    names = names or SCENARIOS
    until_s = time.monotonic() + seconds
    KEPT.mkdir(parents=True, exist_ok=True)
    timings()
    for name, backend, seed in _missing(names):
        if time.monotonic() < until_s:
            path = _path(name, backend, seed)
            path.with_suffix(".part").write_text(json.dumps(_played(name, backend, seed)))
            path.with_suffix(".part").rename(path)
    if left := len(list(_missing(names))):
        print(f"{left} runs of real programs are still to be played")


def _seeds() -> list[int]:
    """Those of which nothing is missing."""
    left = {seed for _, _, seed in _missing(SCENARIOS)}
    return [seed for seed in SEEDS if seed not in left]


def _missing(names: Sequence[str]) -> Iterator[tuple[str, str, int]]:
    for seed in SEEDS:
        for name in names:
            for backend in REAL:
                if not _path(name, backend, seed).exists() and _can(name, backend):
                    yield name, backend, seed


def _path(name: str, backend: str, seed: int) -> Path:
    return KEPT / f"{name}.{backend}.{seed}.json"


def _kept(name: str, backend: str, seed: int) -> Found:
    found: Found = json.loads(_path(name, backend, seed).read_text())
    return found


def timings() -> Calibration:
    """This machine's, found once; in three minutes in which it does nothing else."""
    path = KEPT / "timings.json"
    if not path.exists():
        with tempfile.TemporaryDirectory() as folder:
            found = calibrate(suppliers()["digits"](Path(folder) / "inputs"), Path(folder) / "runs")
        path.write_text(found.model_dump_json(indent=1))
    return read_calibration(path)


def _played(name: str, backend: str, seed: int) -> Found:
    scenario = library.open_scenario(name, {"repetitions": 1, "seed": seed})[1]
    with tempfile.TemporaryDirectory() as folder:
        run = run_scenario(name, scenario, backend_named(backend, timings()), Path(folder) / "run", suppliers())
    return run.repetitions[0].figures[ALL]


def _apart(name: str, runs: Mapping[str, Sequence[Found]], figure: str, told: str, least: float) -> Figure:
    """The largest mean less the smallest, as a share of the smallest."""
    means = {backend: fmean(one[figure] for one in found) for backend, found in runs.items()}
    low, high = min(means.values()), max(means.values())
    each = ", ".join(f"{backend} {mean:.4g}" for backend, mean in means.items())
    beside = f"; of the fewest, or of {least:g} of all" if least else ""
    return Figure(
        f"{name}: {told}, apart by", (high - low) / max(low, least), "share", LIMIT, "at most", each + beside,
        runs=min(map(len, runs.values())),
    )  # fmt: skip


def _alike(found: Sequence[Figure]) -> Figure:
    """In how many scenarios both figures hold."""
    apart = {name: [one.holds for one in found if one.name.startswith(f"{name}:")] for name in SCENARIOS}
    alike = [name for name, held in apart.items() if all(held)]
    return Figure(
        "scenarios in which backends are alike", len(alike), "scenarios", PROMISED, "at least", ", ".join(alike)
    )


def _can(name: str, backend: str) -> bool:
    return not _reasons(name, backend)


def _not_run(name: str, backend: str) -> Figure:
    return Figure(f"{name}, {backend}", 0.0, "not run", against="; ".join(_reasons(name, backend)))


def _reasons(name: str, backend: str) -> list[str]:
    """Why the backend cannot play the scenario here."""
    return why_unplayable(backend_named(backend), library.open_scenario(name)[1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backends", description=__doc__)
    parser.add_argument("--play", type=float, metavar="SECONDS", default=math.inf)
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    play(given.play, given.names)
