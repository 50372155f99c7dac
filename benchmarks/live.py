"""Real programs over recorded cellular links: the adaptive device against every other way, and against its simulation.

Twelve ways, each 60 to 110 s long, on seven traces: more than an hour and a half. Runs are kept in `results/live` and
figures are of what has been played, so that it can be done in sittings on a machine that does nothing else:

    python -m benchmarks.live --play 290 --together 6 ATT-LTE-driving.up    # until none is left; without a name, all
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from adaptation.plan import Plan
from benchmarks.figure import Figure
from benchmarks.live_records import WAYS, Records
from device.settings import PolicySettings
from isthmus.builtin import demo
from testbed.figures import RunRecord
from testbed.setting import Setting
from testbed.simulation.mirror import Told, apart, conditions_of, told_of_record, told_of_run
from testbed.simulation.run import Simulation

TRACES = Path(os.environ.get("ISTHMUS_DATA", "../shared/data")) / "traces" / "mahimahi"
KEPT = Path(__file__).parent.parent / "results" / "live"
SECONDS = 60.0
WINDOWS: Mapping[str, tuple[float, float]] = {"ATT-LTE-driving.up": (770.0, 880.0)}
"""Where another part than the first minute is played: this one has an outage."""
WITHIN = 0.01
"""Share of frames by which another may miss fewer."""
ALIKE = 0.1
"""How far a simulation may be from the run it simulates, as a share."""


def figures() -> Sequence[Figure]:
    """Of every cellular trace over which every way has been played; where there is none, all are played now."""
    found: list[Figure] = []
    if all(records_of(name).missing for name in names()):
        play(names(), float("inf"))
    for name in names():
        records = records_of(name)
        if not records.missing:
            told = {way: records.record(way) for way in WAYS}
            found += _against_others(name, told)
            found += _against_simulation(name, records.setting, records.plan(), told["adaptive"])
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


def _against_others(name: str, records: Mapping[str, RunRecord]) -> list[Figure]:
    told = {way: told_of_record(record) for way, record in records.items()}
    fewest = min(one.missed for way, one in told.items() if way != "adaptive")
    own = told["adaptive"]
    return [
        Figure(
            f"{name}: missed", own.missed, "share", fewest + WITHIN, "at most", "the fewest of all others, plus 1 %"
        ),
        *(Figure(f"{name}: {way} missed", one.missed, "share") for way, one in told.items() if way != "adaptive"),
    ]


def _against_simulation(name: str, setting: Setting, plan: Plan, record: RunRecord) -> list[Figure]:
    """The adaptive run beside a simulated one of the same trace."""
    policy = PolicySettings.model_validate(record.alternative.policy).build()
    given = replace(conditions_of(setting, plan), seed=1)
    simulated, live = told_of_run(Simulation(given, policy).go(), setting.deadline_s), told_of_record(record)
    return [*_beside(name, live, simulated), Figure(f"{name}: choices apart", apart(live, simulated), "share", ALIKE)]


def _beside(name: str, live: Told, simulated: Told) -> list[Figure]:
    pairs = {
        "mean latency": (live.mean_latency_s, simulated.mean_latency_s),
        "miss rate": (live.missed, simulated.missed),
        "bytes per frame": (live.bytes_per_frame, simulated.bytes_per_frame),
    }
    return [
        Figure(
            f"{name}: {what}, simulated off by", abs(one - other) / max(one, 1e-3), "share", ALIKE, "at most", "live"
        )
        for what, (one, other) in pairs.items()
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live", description=__doc__)
    parser.add_argument("--play", type=float, metavar="SECONDS", required=True)
    parser.add_argument("--together", type=int, metavar="WAYS", default=1)
    parser.add_argument("traces", nargs="*", default=names())
    given = parser.parse_args()
    play(given.traces, given.play, given.together)
