"""What a run came to, by hand."""

from __future__ import annotations

import pytest

from adaptation.plan import Choice, Route
from benchmarks.live_told import Told, apart, told_of

SENT, ALONE = Choice(1, 0, Route.EDGE), Choice(5, None, Route.DEVICE)


def test_a_run_is_told_by_its_devices_history() -> None:
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
    told = told_of((sent, late, gone, own), 4)
    assert told.mean_latency_s == pytest.approx((0.1 + 0.26 + 0.25 + 0.1) / 4)
    assert told.missed == 0.5
    assert told.bytes_per_frame == 150.0
    assert told.choices == {SENT: 0.5, None: 0.25, ALONE: 0.25}


def test_runs_are_apart_by_the_shares_of_their_choices() -> None:
    one, other, half = (Told(0.1, 0.0, 0.0, shares) for shares in ({SENT: 1.0}, {ALONE: 1.0}, {SENT: 0.5, ALONE: 0.5}))
    assert apart(one, one) == 0.0
    assert apart(one, other) == 1.0
    assert apart(half, one) == 0.5
