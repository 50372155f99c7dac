"""A live comparison's setting as a simulated run, and both runs in the same figures.

What differs, and stays differing: the simulator has no congestion window, no timer jitter, one probed tier where the
device probes each, and the plan's mean bytes where every live frame has its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from adaptation.plan import Choice, Plan, Route
from testbed.errors import TraceError
from testbed.figures import RunRecord, in_time, latency_of
from testbed.hindsight import STREAM_WINDOW_BYTES
from testbed.link.settings import DirectionSettings
from testbed.setting import Setting
from testbed.simulation.conditions import Conditions, Run
from testbed.simulation.supply import Supply, steps
from testbed.simulation.traces import read_supply

UNLIMITED_BPS = 1e10
PROGRAMS_S = 0.002
"""What sockets, event loops and the link emulator add to a round trip on an idle machine."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a run came to, live or simulated.

    Attributes:
        mean_latency_s: an unanswered frame counts with its deadline.
        missed: share of frames not answered in time.
        bytes_per_frame: sent for frames; probes apart.
        choices: share of frames for each (cut, level, route) that was chosen, None for none.
    """

    mean_latency_s: float
    missed: float
    bytes_per_frame: float
    choices: Mapping[Choice | None, float]


def conditions_of(setting: Setting, plan: Plan) -> Conditions:
    """The setting's link, pace and deadline, and a plan measured on its device.

    Raises:
        TraceError: the trace cannot be read.
    """
    seconds = setting.frames / setting.rate_hz
    limited = setting.downlink.kind != "unlimited"
    farther_s = 2.0 * setting.cloud_extra_s
    return Conditions(
        plan=plan,
        supply=supply_of(setting.uplink, seconds + 2.0 * setting.deadline_s),
        downlink=supply_of(setting.downlink, seconds + 2.0 * setting.deadline_s) if limited else None,
        seconds=seconds,
        deadline_s=setting.deadline_s,
        interval_s=1.0 / setting.rate_hz,
        one_way_s=(setting.uplink.delay_s + setting.downlink.delay_s + PROGRAMS_S) / 2.0,
        extra_s={Route.CLOUD: farther_s, Route.EDGE_TO_CLOUD: farther_s},
        jitter_s=PROGRAMS_S / 2.0,
        held_back_bytes=float(STREAM_WINDOW_BYTES),
    )


def supply_of(direction: DirectionSettings, seconds: float) -> Supply:
    """What a direction of the emulated link offers in its first seconds.

    Raises:
        TraceError: the trace cannot be read.
    """
    if direction.kind == "trace" and direction.path is not None:
        if direction.path.suffix not in (".up", ".down"):
            raise TraceError(f"the link emulator plays packet times only; {str(direction.path)!r} has rows of rates")
        whole = read_supply(direction.path)
        to_s = float(whole.times_s[-1]) if direction.to_s is None else direction.to_s
        return whole.window(direction.from_s, to_s - direction.from_s).window(0.0, seconds)
    if direction.kind == "steps":
        known_s = sum(length_s for length_s, _ in direction.steps[:-1])
        return steps([*direction.steps[:-1], (max(seconds - known_s, 1e-3), direction.steps[-1][1])])
    return steps([(seconds, direction.rate_bps or UNLIMITED_BPS)])


def told_of_run(run: Run, deadline_s: float) -> Told:
    """A simulated run."""
    latencies = [deadline_s if frame.done_s is None else frame.done_s - frame.captured_s for frame in run.frames]
    return Told(
        float(np.mean(latencies)),
        run.missed / len(run.frames),
        (run.sent_bytes - run.probe_bytes) / len(run.frames),
        _shares(Counter(frame.choice for frame in run.frames)),
    )


def told_of_record(record: RunRecord) -> Told:
    """A live run."""
    lines = record.history
    return Told(
        float(np.mean([latency_of(line) for line in lines])),
        1.0 - sum(in_time(line) for line in lines) / record.captured,
        sum(line["message_bytes"] for line in lines) / record.captured,
        _shares(Counter(_choice(line) for line in lines)),
    )


def apart(one: Told, other: Told) -> float:
    """How far apart the choices are: half the sum of the differences of their shares, 0 to 1."""
    every = {*one.choices, *other.choices}
    return 0.5 * sum(abs(one.choices.get(choice, 0.0) - other.choices.get(choice, 0.0)) for choice in every)


def _choice(line: Mapping[str, Any]) -> Choice | None:
    return None if line["route"] is None else Choice(line["cut"], line["level"], Route(line["route"]))


def _shares(counts: Counter[Choice | None]) -> dict[Choice | None, float]:
    total = sum(counts.values())
    return {choice: count / total for choice, count in counts.items()}
