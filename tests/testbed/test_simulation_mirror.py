"""A live setting in simulated time, and both kinds of run in the same figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adaptation.plan import Choice, Route
from adaptation.policies import FixedPolicy
from testbed.alternatives import Alternative
from testbed.errors import TraceError
from testbed.figures import RunRecord
from testbed.link.settings import DirectionSettings
from testbed.setting import Setting
from testbed.simulation.mirror import apart, conditions_of, supply_of, told_of_record, told_of_run
from testbed.simulation.run import Simulation
from testbed.simulation.tables import light
from testbed.simulation.uplink import Line, Uplink

SENT, ALONE = Choice(1, 0, Route.EDGE), Choice(5, None, Route.DEVICE)
RADIO = DirectionSettings(kind="rate", rate_bps=4e6, delay_s=0.015)
SETTING = Setting(
    bundle=Path("none"), inputs=Path("none"), labels={}, uplink=RADIO, downlink=RADIO, frames=50, deadline_s=0.25
)


@pytest.mark.parametrize(
    "direction",
    [
        RADIO,
        DirectionSettings(kind="steps", steps=((0.5, 1e6), (0.3, 0.0), (0.2, 4e5))),
        DirectionSettings(kind="trace", path=Path(__file__).parent / "packets.up", from_s=0.2, to_s=0.9),
    ],
    ids=lambda direction: direction.kind,
)
def test_a_supply_books_as_the_direction_that_it_mirrors(direction: DirectionSettings) -> None:
    emulated, uplink = direction.capacity(), Uplink(Line(supply_of(direction, 5.0)), 0.0)
    for number in range(12):
        now_s = 0.1 * number + 1e-5
        assert uplink.send(number, 1000, now_s).leaves_s == pytest.approx(emulated.book(now_s, 1000), abs=1e-5)


def test_only_what_the_emulator_plays_is_mirrored(tmp_path: Path) -> None:
    rows = DirectionSettings(kind="trace", path=tmp_path / "rows.txt")
    with pytest.raises(TraceError, match="packet times only"):
        supply_of(rows, 1.0)
    assert supply_of(DirectionSettings(kind="unlimited"), 1.0).at(1.0) > 1e9


def test_a_simulated_run_is_told_as_arithmetic_has_it() -> None:
    given = replace(conditions_of(SETTING, light()), jitter_s=0.0)
    told = told_of_run(Simulation(given, FixedPolicy(SENT)).go(), 0.25)
    option = light().find(SENT)
    assert option is not None
    service_s = option.message_bytes * 8 / 4e6
    service_s += option.result_bytes * 8 / 4e6
    assert told.mean_latency_s == pytest.approx(option.device_s + service_s + 0.032 + option.tier_s, abs=1e-6)
    assert told.missed == 0.0
    assert told.bytes_per_frame == pytest.approx(option.message_bytes)
    assert told.choices == {SENT: 1.0}


def test_a_live_run_is_told_in_the_same_words() -> None:
    answered = {"ended": "answered", "in_time": True, "latency_s": 0.1, "deadline_s": 0.25, "message_bytes": 300}
    sent = {**answered, "cut": 1, "level": 0, "route": "edge"}
    late = {**sent, "ended": "expired", "in_time": False, "latency_s": 0.26}
    gone = {
        **late,
        "ended": "dropped",
        "latency_s": 0.05,
        "message_bytes": 0,
        "cut": None,
        "level": None,
        "route": None,
    }
    own = {**answered, "cut": 5, "level": None, "route": "device", "message_bytes": 0}
    record = RunRecord(Alternative("adaptive", {}, ""), SETTING, (sent, late, gone, own), (), 4)
    told = told_of_record(record)
    assert told.mean_latency_s == pytest.approx((0.1 + 0.26 + 0.25 + 0.1) / 4)
    assert told.missed == 0.5
    assert told.bytes_per_frame == 150.0
    assert told.choices == {SENT: 0.5, None: 0.25, ALONE: 0.25}


def test_runs_are_apart_by_the_shares_of_their_choices() -> None:
    given = replace(conditions_of(SETTING, light()), jitter_s=0.0)
    one, other = (told_of_run(Simulation(given, FixedPolicy(choice)).go(), 0.25) for choice in (SENT, ALONE))
    assert apart(one, one) == 0.0
    assert apart(one, other) == 1.0
    half = replace(one, choices={SENT: 0.5, ALONE: 0.5})
    assert apart(half, one) == 0.5
