"""The best single choice, found after the fact: every choice of the plan is played over the link that was.

A model of the same chain as the real programs': a slot that keeps the latest frame, a serial device, a bottleneck in
each direction, a serial tier. Times are the measured ones, the link is the very one that is
emulated; who wins is then replayed live, so that no figure of the comparison comes from this model.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptation.plan import Choice, Option, Plan, Route
from device.figures import Figures
from device.plan import Planner
from runtime.bundle import Bundle
from runtime.engines import engine_named
from runtime.manifest import Manifest
from runtime.measure import time_parts
from testbed.link.capacity import Capacity
from testbed.pace import fitting, whole_model_s
from testbed.setting import Setting

STREAM_WINDOW_BYTES = 65535
"""What HTTP/2 lets out of a sender before the receiver has read it; it waits in sockets and in the link's queue."""

_SAMPLES = 4


@dataclass(frozen=True, slots=True)
class Played:
    """How one choice would have done.

    Attributes:
        utility: accuracy times the share of frames answered in time.
        mean_latency_s: an unanswered frame counts with the deadline.
    """

    choice: Choice
    utility: float
    in_time: float
    mean_latency_s: float


def best_fixed(setting: Setting, plan: Plan) -> list[Played]:
    """All choices of the plan, the best first: by utility, then by latency."""
    played = [play(option, setting) for option in plan]
    return sorted(played, key=lambda one: (-round(one.utility, 4), one.mean_latency_s))


def measured_plan(setting: Setting) -> tuple[Manifest, Plan]:
    """The choices of the bundle with what they cost on the emulated device, timed now on this machine.

    Raises:
        BundleError: the bundle cannot be used.
        ScenarioError: no input fits the model.
    """
    with Bundle.open(setting.bundle) as bundle:
        manifest = bundle.manifest
        items = samples(setting, manifest)
        profile = time_parts(bundle, engine_named("onnxruntime", 1), items, budget_s=setting.measure_s)
    figures = Figures(profile, slowdown=setting.slowdown, clock=time.monotonic)
    return manifest, Planner(manifest, figures, (Route.EDGE, Route.CLOUD)).plan()


def as_observed(plan: Plan, history: Iterable[Mapping[str, Any]]) -> Plan:
    """The plan with the device's seconds as a live run took them for the choices that it made."""
    factor = observed_factor(plan, history)
    if factor == 1.0:
        return plan
    return Plan(tuple(replace(option, device_s=option.device_s * factor) for option in plan))


def observed_factor(plan: Plan, history: Iterable[Mapping[str, Any]]) -> float:
    """How much longer a live device took for its choices than the plan says, in the median; 1 without usable lines.

    Timing in a tight loop flatters: between frames the caches go cold.
    """
    ratios = []
    for line in history:
        if line["ended"] == "answered" and line["device_s"] > 0:
            option = plan.find(Choice(line["cut"], line["level"], Route(line["route"])))
            if option is not None and option.device_s > 0:
                ratios.append(line["device_s"] / option.device_s)
    return statistics.median(ratios) if ratios else 1.0


def slowdown_for(
    setting: Setting, whole_s: float, pace: Callable[[Path, Sequence[Path]], float] = whole_model_s
) -> float:
    """How many times slower than this machine a device is on which the whole model takes `whole_s`; at least 1.

    Args:
        pace: processor seconds that a bundle's whole model takes on inputs.

    Raises:
        BundleError: the bundle cannot be used.
        ScenarioError: no input fits the model.
    """
    return max(1.0, whole_s / pace(setting.bundle, first_items(setting)))


def first_items(setting: Setting) -> list[Path]:
    """A few inputs of the setting."""
    return [setting.inputs / name for name in setting.names()[:_SAMPLES]]


def samples(setting: Setting, manifest: Manifest) -> list[NDArray[Any]]:
    """The same, each with a batch axis.

    Raises:
        ScenarioError: none of them fits the model.
    """
    return fitting(first_items(setting), manifest)


def play(option: Option, setting: Setting) -> Played:
    """One choice for all frames of a setting."""
    chain = _Chain(option, setting)
    latencies = [chain.latency_s(captured_s, taken_s) for captured_s, taken_s in _taken(option, setting)]
    share = sum(latency_s <= setting.deadline_s for latency_s in latencies) / setting.frames
    counted = [setting.deadline_s if math.isinf(latency_s) else latency_s for latency_s in latencies]
    counted += [setting.deadline_s] * (setting.frames - len(latencies))  # never taken up: a newer frame replaced them
    return Played(option.choice, share * option.accuracy, share, float(np.mean(counted)))


def _taken(option: Option, setting: Setting) -> Sequence[tuple[float, float]]:
    """(captured, taken up) of the frames that the device takes: the latest whenever it is free."""
    taken: list[tuple[float, float]] = []
    free_s = 0.0
    captured = [number / setting.rate_hz for number in range(setting.frames)]
    position = 0
    while position < len(captured):
        at_s = max(free_s, captured[position])
        while position + 1 < len(captured) and captured[position + 1] <= at_s:
            position += 1
        if at_s < captured[position] + setting.deadline_s:
            taken.append((captured[position], at_s))
            free_s = at_s + option.device_s
        position += 1
    return taken


class _Chain:
    """From the device's processor to the answer. Frames go through in order."""

    def __init__(self, option: Option, setting: Setting) -> None:
        self._option = option
        self._deadline_s = setting.deadline_s
        self._up = _Direction(setting.uplink.capacity())
        self._down = _Direction(setting.downlink.capacity())
        extra_s = setting.cloud_extra_s if option.choice.route is Route.CLOUD else 0.0
        self._up_delay_s = setting.uplink.delay_s + extra_s
        self._down_delay_s = setting.downlink.delay_s + extra_s
        self._tier_free_s = 0.0

    def latency_s(self, captured_s: float, taken_s: float) -> float:
        """From capture to answer; infinite if the device gives the frame up at its deadline."""
        option = self._option
        ready_s = taken_s + option.device_s
        if not option.choice.remote:
            return ready_s - captured_s
        deadline_s = captured_s + self._deadline_s
        arrived_s = self._up.send(ready_s, deadline_s, round(option.message_bytes)) + self._up_delay_s
        if arrived_s >= deadline_s:
            return math.inf
        self._tier_free_s = max(self._tier_free_s, arrived_s) + option.tier_s
        left_s = self._down.send(self._tier_free_s, deadline_s, round(option.result_bytes))
        answered_s = left_s + self._down_delay_s
        return answered_s - captured_s if answered_s <= deadline_s else math.inf


class _Direction:
    """A bottleneck behind a stream that lets only so much out; the rest can still be withdrawn at its deadline."""

    def __init__(self, capacity: Capacity) -> None:
        self._capacity = capacity
        self._under_way: deque[tuple[float, int]] = deque()  # (when it has left, bytes)

    def send(self, ready_s: float, deadline_s: float, size: int) -> float:
        """When the last byte has left; infinite if the deadline passed before the stream let it out."""
        while self._under_way and self._under_way[0][0] <= ready_s:
            self._under_way.popleft()
        out_s, outstanding = ready_s, sum(bytes_ for _, bytes_ in self._under_way)
        for left_s, bytes_ in self._under_way:
            if outstanding + size <= STREAM_WINDOW_BYTES:
                break
            out_s, outstanding = left_s, outstanding - bytes_
        if out_s >= deadline_s:
            return math.inf
        finish_s = self._capacity.book(out_s, size)
        self._under_way.append((finish_s, size))
        return finish_s
