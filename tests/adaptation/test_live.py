"""What a run over a link came to, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.live import apart, shares
from testbed.alternatives import Alternative
from testbed.figures import RunRecord, figures
from testbed.link.settings import DirectionSettings
from testbed.setting import Setting

AIR = DirectionSettings(kind="unlimited")
SETTING = Setting(bundle=Path("none"), inputs=Path("none"), labels={}, uplink=AIR, downlink=AIR, frames=4)
SENT, ALONE = (1, 0, "edge"), (5, None, "device")
ANSWERED = {"ended": "answered", "in_time": True, "latency_s": 0.1, "deadline_s": 0.25, "answer": 1, "source": "0.png"}
BY_EDGE = {**ANSWERED, "cut": 1, "level": 0, "route": "edge", "message_bytes": 300}
BY_ITSELF = {**ANSWERED, "cut": 5, "level": None, "route": "device", "message_bytes": 0}


def record(*lines: dict[str, object]) -> RunRecord:
    history = [{**line, "frame": number} for number, line in enumerate(lines)]
    return RunRecord(Alternative("adaptive", {}, ""), SETTING, history, (), len(lines))


def test_a_run_is_told_by_its_devices_history() -> None:
    late = {**BY_EDGE, "ended": "expired", "in_time": False, "latency_s": 0.26}
    nothing = {"cut": None, "level": None, "route": None, "message_bytes": 0}
    gone = {**late, "ended": "dropped", "latency_s": 0.05, **nothing}
    run = record(BY_EDGE, late, gone, BY_ITSELF)
    told = figures(run)
    assert told["mean_latency_s"] == pytest.approx((0.1 + 0.26 + 0.25 + 0.1) / 4)
    assert told["deadline_miss_rate"] == 0.5
    assert told["bytes_per_frame"] == 150.0
    assert shares(run) == {SENT: 0.5, None: 0.25, ALONE: 0.25}


def test_runs_are_apart_by_the_shares_of_their_choices() -> None:
    one, other, half = record(BY_EDGE), record(BY_ITSELF), record(BY_EDGE, BY_ITSELF)
    assert apart(one, one) == 0.0
    assert apart(one, other) == 1.0
    assert apart(half, one) == 0.5
