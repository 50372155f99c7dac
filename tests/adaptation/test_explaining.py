"""What is told of a decision agrees with what was decided on."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from adaptation.explaining import describe, interval_bps
from adaptation.goal import Goal
from adaptation.policies import DeadlinePolicy
from adaptation.worth import worth
from isthmus.cli.explain import NothingToExplain, app, told
from tests.adaptation.test_policies import PLAN, certain, snapshot

LINE = {
    "frame": 7, "captured_s": 0.6, "ended": "answered", "by": "edge", "reason": "", "latency_s": 0.08,
    "deadline_s": 0.25, "in_time": True, "hedge_s": 0.0,
}  # fmt: skip


def test_a_description_puts_the_choice_first_and_tells_its_predictions() -> None:
    now = snapshot(certain(1e6))
    decision = DeadlinePolicy().decide(now)
    known = json.loads(json.dumps(describe(now, decision, Goal())))
    assert decision.choice is not None
    place = PLAN.columns.positions[decision.choice]
    assert known["options"][0]["cut"] == decision.choice.cut
    assert known["options"][0]["level"] == decision.choice.level
    assert known["options"][0]["utility"] == pytest.approx(float(worth(now, Goal()).utility[place]), abs=1e-4)
    assert known["link"]["rate_bps"][1] == 1_000_000
    assert known["reason"] == decision.reason


def test_an_interval_holds_the_shares_it_names() -> None:
    low, middle, high = interval_bps(certain(1e6))
    assert low == middle == high == 1e6


def test_the_story_of_a_frame_names_what_came_of_it(tmp_path) -> None:  # type: ignore[no-untyped-def]
    now = snapshot(certain(1e6))
    known = describe(now, DeadlinePolicy().decide(now), Goal())
    story = "\n".join(told(LINE | {"decision": known}))
    assert "answered by the edge after 80 of 250 ms (in time)" in story
    assert "1 Mbit/s" in story
    assert "never came to the device's turn" in "\n".join(told(LINE))
    (tmp_path / "history.jsonl").write_text(json.dumps(LINE | {"decision": known}) + "\n")
    assert "Frame 7" in CliRunner().invoke(app, [str(tmp_path), "7"]).output
    assert json.loads(CliRunner().invoke(app, [str(tmp_path), "7", "--json"]).output)["frame"] == 7
    assert isinstance(CliRunner().invoke(app, [str(tmp_path), "8"]).exception, NothingToExplain)
