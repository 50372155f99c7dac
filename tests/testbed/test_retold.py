"""A history told again: its minutes against a run whose link and choices are known, and the picture of it."""

from __future__ import annotations

import json
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from adaptation.decision import Decision
from adaptation.explaining import describe
from adaptation.goal import Goal
from adaptation.plan import Choice, Route
from adaptation.policies import DeadlinePolicy, Policy
from adaptation.policies.fixed import FixedPolicy
from adaptation.snapshot import Snapshot
from isthmus.cli.explain import app
from testbed.errors import ScenarioError
from testbed.simulation.conditions import Conditions
from testbed.simulation.oracle import foresee
from testbed.simulation.retold import beliefs, minutes, plan_of
from testbed.simulation.run import Simulation
from testbed.simulation.supply import steps
from testbed.simulation.tables import light

GOAL = Goal(latency_weight=0.0)
GOOD = steps([(30.0, 3e6)])
SPAN_S = 4.0
SMALLEST = Choice(1, 0, Route.EDGE)


def history(policy: Policy, given: Conditions) -> list[dict[str, Any]]:
    """A simulated run as the lines that an agent writes."""
    decided: dict[int, dict[str, Any]] = {}

    def note(index: int, snapshot: Snapshot, decision: Decision) -> None:
        decided[index] = describe(snapshot, decision, GOAL)

    run = Simulation(given, policy, observe=note).go()
    return [
        {
            "frame": index + 1,
            "captured_s": frame.captured_s,
            "ended": "expired" if frame.done_s is None else "answered",
            "in_time": frame.done_s is not None,
            "by": None if frame.by is None else frame.by.route.value,
            "route": None if frame.choice is None else frame.choice.route.value,
            "cut": None if frame.choice is None else frame.choice.cut,
            "level": None if frame.choice is None else frame.choice.level,
            "latency_s": given.deadline_s if frame.done_s is None else frame.done_s - frame.captured_s,
            "deadline_s": given.deadline_s,
            "decision": decided.get(index),
        }
        for index, frame in enumerate(run.frames)
    ]


@pytest.fixture(scope="module")
def told() -> list[dict[str, Any]]:
    given = Conditions(plan=light(), supply=GOOD, seconds=6.0, deadline_s=0.25)
    return history(DeadlinePolicy(GOAL), given)


def test_what_became_of_each_minute_is_counted(told: list[dict[str, Any]]) -> None:
    first, second = minutes(told, SPAN_S)
    assert (first.frames, second.frames) == (40, 20)
    assert (first.begins_s, second.begins_s) == (0.0, SPAN_S)
    assert first.in_time == sum(line["in_time"] for line in told[:40])
    assert sum(first.choices.values()) <= 40
    right = {option.choice: option.accuracy for option in light()}
    worth = [right[Choice(line["cut"], line["level"], Route(line["route"]))] * line["in_time"] for line in told[40:]]
    assert second.utility == pytest.approx(sum(worth) / 20)


def test_the_best_on_a_link_as_it_looked_is_that_on_the_link_as_it_was_once_it_is_known(
    told: list[dict[str, Any]],
) -> None:
    known = Conditions(plan=light(), supply=GOOD, seconds=2.0, deadline_s=0.25)
    assert minutes(told, SPAN_S)[1].best == pytest.approx(foresee(known).utility, abs=0.02)
    assert minutes(told, SPAN_S)[1].regret < 0.03


def test_who_never_adapts_is_told_what_that_cost() -> None:
    given = Conditions(plan=light(), supply=GOOD, seconds=3.0, deadline_s=0.25)
    (minute,) = minutes(history(FixedPolicy(SMALLEST), given))
    assert minute.choices == {SMALLEST: 30}
    assert minute.regret > 0.015


def test_a_history_without_decisions_is_refused_with_the_setting_to_change() -> None:
    line = {"frame": 1, "captured_s": 0.0, "deadline_s": 0.25, "ended": "answered", "in_time": True, "route": None}
    with pytest.raises(ScenarioError, match="no decision"):
        plan_of([line | {"decision": None}])
    old = {"options": [{"cut": 1, "level": 0, "route": "edge", "bytes": 9, "accuracy": 1.0}]}
    with pytest.raises(ScenarioError, match="record it anew"):
        plan_of([line | {"decision": old}])


def test_the_command_prints_each_minute_and_draws_the_run(told: list[dict[str, Any]], tmp_path: Path) -> None:
    path, plot, link = tmp_path / "history.jsonl", tmp_path / "run.svg", tmp_path / "link.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in told))
    link.write_text("".join(json.dumps({"at_s": 0.1 * k, "up_bytes": 3000}) + "\n" for k in range(60)))
    shown = CliRunner().invoke(app, ["run", str(tmp_path), "--plot", str(plot), "--link", str(link)])
    assert shown.exit_code == 0, shown.output
    assert "    0 s      60" in shown.output
    as_json = json.loads(CliRunner().invoke(app, ["run", str(path), "--json"]).output)
    assert [minute["frames"] for minute in as_json] == [60]
    drawn = xml.etree.ElementTree.fromstring(plot.read_text())
    kinds = [part.get("class") for part in drawn.iter()]
    assert kinds.count("between") == kinds.count("middle") == kinds.count("carried") == 1
    assert sum(part.tag.endswith("circle") for part in drawn.iter()) == len(told)
    assert len(beliefs(told)) == sum(line["decision"] is not None for line in told)
