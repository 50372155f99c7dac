"""Recordings against the link and the device that a history was made with; in simulated time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from adaptation.explaining import describe
from adaptation.goal import Goal
from isthmus.builtin.demo import BUNDLE
from isthmus.cli.main import app
from runtime.bundle import Bundle
from runtime.manifest import Manifest
from testbed.backends.named import backend_named
from testbed.backends.simulated.terms import extra_s, own_timings, plan_of, supply_of
from testbed.link.traces import read_trace
from testbed.recording.errors import RecordingError
from testbed.recording.link import packet_times_ms
from testbed.recording.recording import Recording, read_history, recording_of
from testbed.recording.writing import write_recording
from testbed.results.figures import ALL
from testbed.running import run_scenario
from testbed.scenarios.material import Material
from testbed.scenarios.scenario import Scenario, read_scenario
from testbed.simulation.conditions import Conditions
from testbed.simulation.history import lines_of
from testbed.simulation.run import Simulation

STEPS = ((4.0, 4e6), (3.0, 200e3), (3.0, 0.0), (4.0, 4e6))
SECONDS = 14
WHOLE_S = 0.15
SETTINGS: Mapping[str, Any] = {
    "about": "For tests.", "seconds": SECONDS, "edge": {}, "cloud": {"extra_delay_s": 0.02},
    "device": {"camera": {"link": "lte", "whole_model_s": WHOLE_S}},
    "link": {"lte": {"uplink": {"kind": "steps", "steps": STEPS, "delay_s": 0.03}}},
}  # fmt: skip


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    with Bundle.open(BUNDLE) as bundle:
        return bundle.manifest


def _material(folder: Path) -> Material:
    """A few pictures of noise for the built-in bundle: nothing here depends on what they show."""
    inputs = folder / "inputs"
    inputs.mkdir(parents=True)
    chance = np.random.default_rng(1)
    labels = {f"{number}.png": number for number in range(4)}
    for name in labels:
        Image.fromarray(chance.integers(256, size=(128, 128, 3), dtype=np.uint8)).save(inputs / name)
    return Material(BUNDLE, inputs, labels)


@pytest.fixture(scope="module")
def lines(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Mapping[str, Any]]:
    """The history of a device on a link that is known, with its decisions, as a real one writes it."""
    scenario = Scenario.model_validate(SETTINGS)
    table, link = scenario.device["camera"], scenario.played().links["lte"]
    plan = plan_of(scenario, table, manifest, own_timings(manifest))
    decisions: dict[int, dict[str, Any]] = {}
    given = Conditions(
        plan=plan, supply=supply_of(link.uplink, SECONDS), downlink=supply_of(link.downlink, SECONDS), seconds=SECONDS,
        deadline_s=0.25, one_way_s=0.03, extra_s=extra_s(scenario), held_back_bytes=65535,
    )  # fmt: skip
    run = Simulation(
        given,
        table.policy.build(),
        observe=lambda index, seen, one: decisions.update({index + 1: describe(seen, one, Goal())}),
    ).go()
    material = _material(tmp_path_factory.mktemp("inputs"))
    found = lines_of(run.frames, given, material.labels, Random(1))
    return [
        {**line, "captured_s": line["captured_s"] + 100, "decision": decisions.get(line["frame"])} for line in found
    ]


@pytest.fixture(scope="module")
def recorded(lines: Sequence[Mapping[str, Any]], manifest: Manifest) -> Recording:
    return recording_of(lines, manifest)


def _rate_at(steps: Sequence[tuple[float, float]], at_s: float) -> float:
    for seconds, rate_bps in steps:
        if at_s < seconds:
            return rate_bps
        at_s -= seconds
    return steps[-1][1]


@pytest.mark.slow
def test_rates_delays_pace_and_speed_are_those_of_the_deployment(recorded: Recording) -> None:
    assert recorded.seconds == pytest.approx(SECONDS, abs=0.1)
    assert recorded.rate_hz == pytest.approx(10)
    assert recorded.deadline_s == 0.25
    assert recorded.whole_model_s == pytest.approx(WHOLE_S, rel=0.02)
    assert recorded.tiers == ("edge", "cloud")
    assert recorded.link.round_trip_s["edge"] == pytest.approx(0.06, abs=0.005)
    for at_s in (2.0, 3.5, 12.0, 13.5):
        assert _rate_at(recorded.link.steps, at_s) > 2e6, at_s
    for at_s in (5.5, 6.5):
        assert 80e3 < _rate_at(recorded.link.steps, at_s) < 600e3, at_s
    for at_s in (8.5, 9.5):
        assert _rate_at(recorded.link.steps, at_s) < 20e3, at_s


@pytest.mark.slow
def test_a_recording_replays_as_what_was_recorded(tmp_path: Path, recorded: Recording) -> None:
    path = write_recording(recorded, tmp_path, "field", bundle="digits", inputs=None)
    figures = []
    for name, scenario in (("truth", Scenario.model_validate(SETTINGS)), ("replay", read_scenario(path))):
        run = run_scenario(name, scenario, backend_named("simulated"), tmp_path / name, {"digits": _material})
        figures.append(run.repetitions[0].figures[ALL])
    truth, replay = figures
    assert replay["mean_latency_s"] == pytest.approx(truth["mean_latency_s"], rel=0.1)
    assert replay["deadline_miss_rate"] == pytest.approx(truth["deadline_miss_rate"], abs=0.05)
    assert replay["accuracy"] == pytest.approx(truth["accuracy"], abs=0.05)


def test_the_trace_beside_it_carries_as_much_as_the_steps(tmp_path: Path) -> None:
    steps = ((2.0, 1.2e6), (1.0, 0.0), (1.5, 2.4e6))
    times = packet_times_ms(steps)
    assert len(times) == 200 + 300
    assert not any(2001 < at_ms < 3000 for at_ms in times)
    path = tmp_path / "it.up"
    path.write_text("".join(f"{at_ms}\n" for at_ms in times))
    assert read_trace(path).offered_bytes(0, 2) == pytest.approx(300e3, rel=0.01)


def _write(path: Path, lines: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"half')
    return path


@pytest.mark.slow
def test_the_command_records_and_says_what_to_do_next(tmp_path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    history = _write(tmp_path / "history.jsonl", lines)
    done = CliRunner().invoke(
        app, ["record", str(history), "--output", str(tmp_path / "field")], catch_exceptions=False
    )
    assert f"isthmus testbed run {tmp_path / 'field' / 'recorded.toml'}" in done.stdout
    assert read_scenario(tmp_path / "field" / "recorded.toml").device["camera"].rate_hz == pytest.approx(10)
    assert (tmp_path / "field" / "recorded.up").exists()


@pytest.mark.slow
def test_a_bundle_of_ones_own_is_recorded_with_its_inputs_and_answers(
    tmp_path: Path, lines: Sequence[Mapping[str, Any]]
) -> None:
    history = _write(tmp_path / "history.jsonl", lines)
    (tmp_path / "inputs").mkdir()
    command = ["record", str(history), "--bundle", str(BUNDLE), "--output", str(tmp_path / "field"), "--json"]
    done = CliRunner().invoke(app, [*command, "--inputs", str(tmp_path / "inputs")], catch_exceptions=False)
    assert json.loads(done.stdout)["seconds"] == pytest.approx(SECONDS, abs=0.1)
    scenario = read_scenario(tmp_path / "field" / "recorded.toml")
    assert (scenario.bundle, scenario.inputs) == (str(BUNDLE), tmp_path / "inputs")
    assert scenario.labels is not None
    answers = json.loads(scenario.labels.read_text())
    assert answers
    assert set(answers) <= {line["source"] for line in lines}
    with pytest.raises(RecordingError, match="needs --inputs"):
        CliRunner().invoke(app, command, catch_exceptions=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda lines: lines[:5], "5 frames are too few"),
        (lambda lines: [{**line, "decision": None} for line in lines], "no line of this history has a decision"),
        (lambda lines: [{**line, "device_s": 0.0} for line in lines], "the device computed nothing"),
    ],
)
def test_a_history_that_says_too_little_is_refused(
    lines: Sequence[Mapping[str, Any]], manifest: Manifest, change: Any, told: str
) -> None:
    with pytest.raises(RecordingError, match=told):
        recording_of(change(lines), manifest)


def test_a_file_that_is_no_history_is_refused_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello\n")
    with pytest.raises(RecordingError, match="line 1, is not a frame's"):
        read_history(path)
    with pytest.raises(RecordingError, match="cannot be read"):
        read_history(tmp_path / "absent")
