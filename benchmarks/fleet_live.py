"""Fifty device processes on one tier, and what the fleet simulator says of them from four; part of `bench fleet`.

Four devices are run first: their frames give seconds on the device and in the tier, bytes, and what sockets and event
loops add; the tier's own warm-up gives how a batch grows with its size. From that alone the fifty are predicted. Takes
about five minutes on two otherwise idle cores.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.figure import Figure
from isthmus.builtin.demo import BUNDLE
from isthmus.cli.testbed import suppliers
from testbed.backends.backend import Line
from testbed.backends.named import backend_named
from testbed.figures import latency_of
from testbed.fleet.calibration import batch_seconds
from testbed.fleet.run import serve
from testbed.fleet.settings import Fleet
from testbed.running import ScenarioRun, run_scenario
from testbed.scenarios.scenario import Scenario

FEW, DEVICES = 4, 50
SECONDS = 20.0
RATE_HZ, DEADLINE_S = 1.0, 0.5
CUT, LEVEL = 2, 2
DEVICE_SLOWDOWN, TIER_SLOWDOWN = 40.0, 6.0
RATE_BPS, DELAY_S = 20e6, 0.02
LIMIT = 0.15


@dataclass(frozen=True, slots=True)
class Came:
    """What came of a fleet: answers per second, and seconds that half and 99 % of the frames kept."""

    throughput_hz: float
    p50_s: float
    p99_s: float


def figures() -> Sequence[Figure]:
    """Predicted against real: throughput, median, 99th percentile."""
    with tempfile.TemporaryDirectory() as folder:
        few = _run(FEW, Path(folder) / "few")
        predicted = predict(few)
        real = _came(_run(DEVICES, Path(folder) / "all"))
    pairs = {
        "throughput": (predicted.throughput_hz, real.throughput_hz, "frames/s"),
        "median": (predicted.p50_s, real.p50_s, "s"),
        "99th percentile": (predicted.p99_s, real.p99_s, "s"),
    }
    return [
        Figure(f"{DEVICES} device processes on one tier: {name} predicted off by", abs(said / was - 1), "share", LIMIT,
               "at most", f"{was:.4g} {unit}, predicted {said:.4g}")
        for name, (said, was, unit) in pairs.items()
    ]  # fmt: skip


def predict(few: ScenarioRun) -> Came:
    """From the frames of a few devices, by the tiers' own scheduler."""
    lines = [line for record in few.repetitions[0].records["camera"] for line in record.history]
    answered = [line for line in lines if line["ended"] == "answered"]
    batch_s = batch_seconds(BUNDLE, CUT, LEVEL, slowdown=TIER_SLOWDOWN)
    tier_s = statistics.median(line["tier_s"] for line in answered)
    more_s = tier_s - batch_s[1]  # caches that have gone cold, bytes from the wire: once for each batch
    fleet = Fleet(
        devices=DEVICES, rate_hz=RATE_HZ, deadline_s=DEADLINE_S, samples=tuple(map(_sample, answered)),
        cell_devices=DEVICES, cell_bps=RATE_BPS, one_way_s=DELAY_S, exact=True, seconds=200.0,
        batch_s=(0.0, *(one + more_s for one in batch_s[1:])),
    )  # fmt: skip
    served = serve(fleet)
    in_time = np.isfinite(served.latency_s)
    latency_s = np.where(in_time, served.latency_s, DEADLINE_S)
    return Came(in_time.mean() * DEVICES * RATE_HZ, *np.percentile(latency_s, (50, 99)))


def _sample(line: Line) -> tuple[float, float]:
    """Of an answered frame: all seconds that are neither tier nor link, and its bytes."""
    link_s = line["message_bytes"] * 8 / RATE_BPS + 2 * DELAY_S
    return max(line["latency_s"] - line["tier_s"] - link_s, 0.0), line["message_bytes"]


def _run(devices: int, folder: Path) -> ScenarioRun:
    policy = {"name": "fixed", "cut": CUT, "level": LEVEL, "route": "edge"}
    radio = {"kind": "rate", "rate_bps": RATE_BPS, "delay_s": DELAY_S}
    camera = {"link": "cell", "count": devices, "rate_hz": RATE_HZ, "deadline_s": DEADLINE_S, "measure_s": 0.1,
              "slowdown": DEVICE_SLOWDOWN, "policy": policy}  # fmt: skip
    scenario = Scenario.model_validate(
        {"about": "A fleet.", "seconds": SECONDS, "edge": {"slowdown": TIER_SLOWDOWN}, "device": {"camera": camera},
         "link": {"cell": {"uplink": radio}}}
    )  # fmt: skip
    return run_scenario("fleet", scenario, backend_named("process"), folder, suppliers())


def _came(run: ScenarioRun) -> Came:
    lines = [line for record in run.repetitions[0].records["camera"] for line in record.history]
    answered = sum(line["ended"] == "answered" for line in lines)
    p50_s, p99_s = np.percentile([latency_of(line) for line in lines], (50, 99))
    return Came(answered / SECONDS, p50_s, p99_s)
