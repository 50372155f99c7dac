"""Real programs over recorded cellular links: the adaptive device against every other way, and against its simulation.

Takes more than an hour on a machine that does nothing else. `python -m benchmarks.live NAME ...` plays only the traces
whose file names are given.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from adaptation.values import Plan
from benchmarks.figure import Figure, as_object
from device.settings import PolicySettings
from isthmus.builtin import demo
from testbed import alternatives, hindsight
from testbed.alternatives import Alternative
from testbed.comparison import Tiers, run_alternative, tiers
from testbed.figures import RunRecord
from testbed.setting import Setting
from testbed.simulation.mirror import Told, apart, conditions_of, told_of_record, told_of_run
from testbed.simulation.run import Simulation

FOLDER = Path(os.environ.get("ISTHMUS_DATA", "../shared/data")) / "traces" / "mahimahi"
SECONDS = 60.0
WINDOWS: Mapping[str, tuple[float, float]] = {"ATT-LTE-driving.up": (770.0, 880.0)}
"""Where another part than the first minute is played: this one has an outage."""
OTHERS = ("empirical", "ewma", "harmonic", "linucb", "neurosurgeon")
WITHIN = 0.01
"""Share of frames by which another may miss fewer."""
ALIKE = 0.1
"""How far a simulation may be from the run it simulates, as a share."""


def figures() -> Sequence[Figure]:
    """Every cellular trace at hand; none without the data."""
    return figures_of(path.name for path in sorted(FOLDER.glob("*")))


def figures_of(names: Iterable[str]) -> list[Figure]:
    """The traces of these file names."""
    found = []
    for name in names:
        from_s, to_s = WINDOWS.get(name, (0.0, SECONDS))
        with tempfile.TemporaryDirectory() as folder:
            setting = demo.make_setting(
                demo.traced_link(FOLDER / name, from_s, to_s), Path(folder), command="isthmus bench live"
            )
            plan, records = _played(setting, Path(folder))
        found += _against_others(name, records)
        found += _against_simulation(name, setting, plan, records["adaptive"])
    return found


def _played(setting: Setting, folder: Path) -> tuple[Plan, dict[str, RunRecord]]:
    """Every way over the same link and inputs, and the plan with the device's times as they were seen."""
    with tiers(setting, folder) as running:
        adaptive = run_alternative(setting, alternatives.adaptive(), running)
        manifest, timed = hindsight.measured_plan(setting)
        plan = hindsight.as_observed(timed, adaptive.history)
        best = hindsight.best_fixed(setting, plan)[0].choice
        ways = [
            alternatives.device_only(manifest),
            alternatives.cloud_jpeg(manifest),
            alternatives.fixed("best_fixed", best, "the best single choice in hindsight"),
            *(Alternative(name, {"name": name}, f"the policy {name!r}") for name in OTHERS),
        ]
        return plan, {"adaptive": adaptive} | _runs(setting, ways, running)


def _runs(setting: Setting, ways: Iterable[Alternative], running: Tiers) -> dict[str, RunRecord]:
    return {way.name: run_alternative(setting, way, running) for way in ways}


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
    print(json.dumps(as_object("live", figures_of(sys.argv[1:]) if sys.argv[1:] else figures())))
