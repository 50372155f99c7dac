"""Real programs over recorded cellular links: the adaptive device against every other way, and against its simulation.

Twelve ways, each 60 to 110 s long, on seven traces: more than an hour and a half. Runs are kept in `results/live` and
figures are of what has been played, so that it can be done in sittings on a machine that does nothing else:

    python -m benchmarks.live --play 290 --together 6 ATT-LTE-driving.up    # until none is left; without a name, all

The adaptive device is played alone, and held against simulated time with this machine's own timings.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean

from benchmarks.backends import timings
from benchmarks.figure import Figure
from benchmarks.live_records import WAYS, Records
from benchmarks.live_told import Told, apart, told_of
from isthmus.builtin import demo
from runtime.bundle import Bundle
from testbed.backends.backend import Line
from testbed.backends.named import backend_named
from testbed.backends.simulated.terms import plan_of
from testbed.figures import RunRecord
from testbed.hindsight import observed_factor
from testbed.scenarios.material import Material
from testbed.scenarios.scenario import Scenario
from testbed.setting import Setting

TRACES = Path(os.environ.get("ISTHMUS_DATA", "../shared/data")) / "traces" / "mahimahi"
KEPT = Path(__file__).parent.parent / "results" / "live"
SECONDS = 60.0
WINDOWS: Mapping[str, tuple[float, float]] = {"ATT-LTE-driving.up": (770.0, 880.0)}
"""Where another part than the first minute is played: this one has an outage."""
WITHIN = 0.01
"""Share of frames by which another may miss fewer."""
ALIKE = 0.1
"""How far a simulation may be from the run it simulates, as a share."""
SEEDS = (1, 2, 3, 4)
"""Of the simulation."""
COMPARED = {"mean latency": "mean_latency_s", "miss rate": "missed", "bytes per frame": "bytes_per_frame"}


def figures() -> Sequence[Figure]:
    """Of every cellular trace over which every way has been played; where there is none, all are played now."""
    found: list[Figure] = []
    if all(records_of(name).missing for name in names()):
        play(names(), float("inf"))
    for name in names():
        records = records_of(name)
        if not records.missing:
            runs = {way: records.record(way) for way in WAYS}
            found += _against_others(name, {way: told_of(run.history, run.captured) for way, run in runs.items()})
            found += _against_simulation(name, records.setting, runs["adaptive"])
    return found


def names() -> list[str]:
    """Of the cellular traces at hand; none without the data."""
    return sorted(path.name for path in TRACES.glob("*"))


def records_of(name: str) -> Records:
    """What has been played over a trace."""
    from_s, to_s = WINDOWS.get(name, (0.0, SECONDS))
    return Records(KEPT / name, demo.traced_link(TRACES / name, from_s, to_s))


def play(asked: Iterable[str], seconds: float, together: int = 1) -> None:
    """Play what is missing over these traces until the time is up, so many ways at once, and say what is left."""
    until_s = time.monotonic() + seconds
    for name in asked:
        records = records_of(name)
        records.play(until_s, together)
        print(f"{name}: {len(records.missing)} of {len(WAYS)} ways are still to be played")


def simulated(setting: Setting, history: Sequence[Line], seed: int) -> Told:
    """A live run of the adaptive device in simulated time, on a machine as quick as this one was then.

    Args:
        history: of the live run; only what its device took for its choices is looked at.
    """
    asked = {
        "about": "One device of the comparison.",
        "seconds": setting.frames / setting.rate_hz,
        "seed": seed,
        "device": {
            "camera": {
                "link": "radio",
                "whole_model_s": demo.WHOLE_MODEL_S,
                "rate_hz": setting.rate_hz,
                "deadline_s": setting.deadline_s,
            }
        },
        "edge": {},
        "cloud": {"extra_delay_s": setting.cloud_extra_s},
        "link": {"radio": {"uplink": setting.uplink.model_dump(), "downlink": setting.downlink.model_dump()}},
    }
    scenario = Scenario.model_validate(asked)
    known = timings()
    with Bundle.open(setting.bundle) as bundle:
        plan = plan_of(scenario, scenario.device["camera"], bundle.manifest, known)
    quick = known.model_copy(update={"device_factor": known.device_factor * observed_factor(plan, history)})
    material = Material(setting.bundle, setting.inputs, setting.labels)
    played = backend_named("simulated", quick).play(scenario, material, KEPT, 0, lambda told: None)
    (device,) = played.devices
    return told_of(device.lines, device.captured)


def _against_others(name: str, told: Mapping[str, Told]) -> list[Figure]:
    fewest = min(one.missed for way, one in told.items() if way != "adaptive")
    own = told["adaptive"]
    return [
        Figure(
            f"{name}: missed", own.missed, "share", fewest + WITHIN, "at most", "the fewest of all others, plus 1 %"
        ),
        *(Figure(f"{name}: {way} missed", one.missed, "share") for way, one in told.items() if way != "adaptive"),
    ]


def _against_simulation(name: str, setting: Setting, record: RunRecord) -> list[Figure]:
    """The adaptive run beside simulated ones of the same trace; figures are means over the seeds."""
    live = told_of(record.history, record.captured)
    runs = [simulated(setting, record.history, seed) for seed in SEEDS]
    found = []
    for what, figure in COMPARED.items():
        one, each = getattr(live, figure), [getattr(run, figure) for run in runs]
        told = f"live {one:.4g}, simulated {', '.join(f'{value:.4g}' for value in each)}"
        off = abs(one - fmean(each)) / max(one, 1e-3)
        found.append(Figure(f"{name}: {what}, simulated off by", off, "share", ALIKE, "at most", told))
    by_chance = fmean(apart(one, other) for one, other in combinations(runs, 2))
    told = f"two seeds of the simulation {by_chance:.2f}"
    choices = fmean(apart(live, run) for run in runs)
    return [*found, Figure(f"{name}: choices apart", choices, "share", ALIKE, "at most", told)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live", description=__doc__)
    parser.add_argument("--play", type=float, metavar="SECONDS", required=True)
    parser.add_argument("--together", type=int, metavar="WAYS", default=1)
    parser.add_argument("traces", nargs="*", default=names())
    given = parser.parse_args()
    play(given.traces, given.play, given.together)
