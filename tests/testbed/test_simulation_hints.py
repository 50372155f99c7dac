"""A tier that lies about its queue, its timings or its clock, and one that is busy and says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from adaptation.hedging import Hedging
from adaptation.one_way import WRAP_US
from adaptation.plan import Choice
from adaptation.policies import DeadlinePolicy
from testbed.simulation.conditions import Conditions, Run, stamped
from testbed.simulation.run import Simulation
from testbed.simulation.supply import steps
from testbed.simulation.tables import TABLES

LINK = steps([(8.0, 4e6), (6.0, 2e5), (2.0, 0.0), (14.0, 2e6)])
TRUSTING = Conditions(plan=TABLES["builtin"](), supply=LINK, seconds=30.0, deadline_s=0.25)
HINTS: dict[str, Callable[[float, int], float]] = {
    "none": lambda now_s, answers: 0.0,
    "always busy": lambda now_s, answers: 10.0,
    "to and fro": lambda now_s, answers: 10.0 * (answers % 2),
    "long spells": lambda now_s, answers: 0.4 if now_s % 4.0 < 2.0 else 0.0,
    "beyond all bounds": lambda now_s, answers: 1e12,
    "below nothing": lambda now_s, answers: -1e12,
}
TIMINGS: dict[str, Callable[[float, float], float]] = {
    "nothing": lambda now_s, tier_s: 0.0,
    "in the future": lambda now_s, tier_s: 1e6,
    "below nothing": lambda now_s, tier_s: -1e6,
    "to and fro": lambda now_s, tier_s: 0.2 * (int(10.0 * now_s) % 2),
}
STAMPS: dict[str, Callable[[float], int]] = {
    "the same": lambda arrived_s: 1,
    "at random": lambda arrived_s: hash(arrived_s) % WRAP_US,
    "to and fro": lambda arrived_s: stamped(arrived_s + 0.2 * (int(10.0 * arrived_s) % 2)),
    "ever later": lambda arrived_s: stamped(1.5 * arrived_s),
    "backwards": lambda arrived_s: stamped(-arrived_s),
}


def played(given: Conditions, hedge: bool = False) -> Run:
    return Simulation(given, DeadlinePolicy(hedging=Hedging() if hedge else None)).go()


@pytest.fixture(scope="module")
def ignoring() -> Run:
    return played(TRUSTING)


@pytest.mark.parametrize("hint", HINTS)
def test_lies_about_waiting_cost_hardly_a_frame(hint: str, ignoring: Run) -> None:
    lied_to = played(replace(TRUSTING, hint=HINTS[hint]))
    assert lied_to.missed <= 1.1 * ignoring.missed + 1


@pytest.mark.parametrize("timing", TIMINGS)
def test_lies_about_timings_cost_hardly_a_frame(timing: str, ignoring: Run) -> None:
    lied_to = played(replace(TRUSTING, timing=TIMINGS[timing]))
    assert lied_to.missed <= 1.1 * ignoring.missed + 1


@pytest.mark.parametrize("stamp", STAMPS)
def test_lies_about_arrivals_cost_hardly_a_frame(stamp: str, ignoring: Run) -> None:
    lied_to = played(replace(TRUSTING, stamp=STAMPS[stamp]))
    assert lied_to.missed <= 1.1 * ignoring.missed + 1


def choices(run: Run) -> list[Choice | None]:
    return [frame.choice for frame in run.frames]


def test_what_a_tiers_clock_shows_changes_no_decision(ignoring: Run) -> None:
    for apart_s in (3600.0, -3600.0):
        ahead = replace(TRUSTING, stamp=lambda arrived_s, apart_s=apart_s: stamped(arrived_s + apart_s))
        assert choices(played(ahead)) == choices(ignoring)
    assert choices(played(replace(TRUSTING, stamp=None))) == choices(ignoring)  # nothing waits on the way down


def test_stamps_of_arrival_keep_a_jammed_way_down_apart_from_the_way_up() -> None:
    """Answers wait 0.15 s in four of ten tenths of a second; the uplink of 400 kbit/s never changes."""
    jammed = steps([(0.6, 2e6), (0.15, 0.0), (0.25, 2e6), (0.2, 0.0)] * 40)
    given = Conditions(plan=TABLES["HW"](), supply=steps([(31.0, 4e5)]), downlink=jammed, seconds=30.0, deadline_s=0.5)
    with_stamps, without = (played(replace(given, stamp=stamp)) for stamp in (stamped, None))
    assert with_stamps.utility > without.utility + 0.005
    assert with_stamps.missed <= without.missed


def test_an_honest_hint_saves_frames_from_a_busy_tier() -> None:
    def wait_s(now_s: float) -> float:
        return 0.4 if 10.0 < now_s < 20.0 else 0.0

    busy = replace(TRUSTING, supply=steps([(30.0, 4e6)]), busy=wait_s)
    heeding = played(replace(busy, hint=lambda now_s, answers: wait_s(now_s)))
    assert heeding.missed < 0.7 * played(busy).missed
