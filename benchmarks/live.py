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
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from statistics import fmean

from benchmarks.backends import timings
from benchmarks.figure import Figure
from benchmarks.live_records import WAYS, Records
from isthmus.builtin import demo
from runtime.bundle import Bundle
from testbed.backends.named import backend_named
from testbed.backends.simulated.terms import plan_of
from testbed.figures import RunRecord
from testbed.figures import figures as figures_of
from testbed.hindsight import observed_factor
from testbed.scenarios.material import Material
from testbed.scenarios.scenario import Scenario

TRACES = Path(os.environ.get("ISTHMUS_DATA", "../shared/data")) / "traces" / "mahimahi"
KEPT = Path(__file__).parent.parent / "results" / "live"
SECONDS = 60.0
WINDOWS: Mapping[str, tuple[float, float]] = {"ATT-LTE-driving.up": (770.0, 880.0)}
"""Where another part than the first minute is played: this one has an outage."""
WITHIN = 0.01
"""Share of frames by which another may miss fewer."""
ALIKE = 0.1
"""How far a simulation may be from the run it simulates, as a share."""
SEEDS = 4
"""Of the simulation."""
COMPARED = {"mean latency": "mean_latency_s", "miss rate": "deadline_miss_rate", "bytes per frame": "bytes_per_frame"}


def figures() -> Sequence[Figure]:
    """Of every cellular trace over which every way has been played; where there is none, all are played now."""
    found: list[Figure] = []
    if all(records_of(name).missing for name in names()):
        play(names(), float("inf"))
    for name in names():
        records = records_of(name)
        if not records.missing:
            runs = {way: records.record(way) for way in WAYS}
            found += _against_others(name, runs)
            found += _against_simulation(name, runs["adaptive"])
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


def simulated(live: RunRecord) -> Sequence[RunRecord]:
    """A live run in simulated time, seed by seed, on a machine as quick as this one was then.

    Args:
        live: of its history only what the device took for its choices is looked at.
    """
    setting = live.setting
    asked = {
        "about": "One device of the comparison.",
        "seconds": setting.frames / setting.rate_hz,
        "device": {
            "camera": {
                "link": "radio",
                "whole_model_s": demo.WHOLE_MODEL_S,
                "rate_hz": setting.rate_hz,
                "deadline_s": setting.deadline_s,
                "policy": live.alternative.policy,
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
    quick = known.model_copy(update={"device_factor": known.device_factor * observed_factor(plan, live.history)})
    backend, material = backend_named("simulated", quick), Material(setting.bundle, setting.inputs, setting.labels)
    records = []
    for repetition in range(SEEDS):
        (device,) = backend.play(scenario, material, KEPT, repetition, lambda told: None).devices
        records.append(replace(live, history=device.lines, captured=device.captured))
    return records


def shares(record: RunRecord) -> Mapping[tuple[int, int, str] | None, float]:
    """Share of the frames for each cut, level and route that was chosen; None for none."""
    chosen = [None if line["route"] is None else (line["cut"], line["level"], line["route"]) for line in record.history]
    return {choice: count / len(chosen) for choice, count in Counter(chosen).items()}


def apart(one: RunRecord, other: RunRecord) -> float:
    """How far apart the choices are: half the sum of the differences of their shares, 0 to 1."""
    ours, theirs = shares(one), shares(other)
    return 0.5 * sum(abs(ours.get(choice, 0.0) - theirs.get(choice, 0.0)) for choice in {*ours, *theirs})


def _against_others(name: str, runs: Mapping[str, RunRecord]) -> list[Figure]:
    missed = {way: figures_of(run)["deadline_miss_rate"] for way, run in runs.items()}
    own = missed.pop("adaptive")
    told = "the fewest of all others, plus 1 %"
    return [
        Figure(f"{name}: missed", own, "share", min(missed.values()) + WITHIN, "at most", told),
        *(Figure(f"{name}: {way} missed", share, "share") for way, share in missed.items()),
    ]


def _against_simulation(name: str, live: RunRecord) -> list[Figure]:
    """The adaptive run beside simulated ones of the same trace; figures are means over the seeds."""
    runs = simulated(live)
    found = []
    for what, figure in COMPARED.items():
        one, each = figures_of(live)[figure], [figures_of(run)[figure] for run in runs]
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
