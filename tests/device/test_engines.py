"""Which engine runs the heads: chosen by measurement, remembered, and kept on its processors."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from device.engines import choosing
from device.engines.affinity import pinned, require_processors
from device.engines.choosing import Trial, chosen_engine, fastest
from device.engines.settings import EngineSettings
from device.settings import Settings, load
from runtime.bundle import Bundle
from runtime.errors import SettingsError
from tests.device.conftest import DeviceRuns, assert_each_ended_once, assert_says
from tests.runtime.tiny_bundle import TinyBundle

USUAL, OTHER = "onnxruntime", "openvino"


@pytest.fixture
def bundle(tiny_bundle: TinyBundle) -> Iterator[Bundle]:
    with Bundle.open(tiny_bundle.path) as opened:
        yield opened


def test_the_fastest_that_answers_alike_is_taken() -> None:
    assert fastest({USUAL: Trial(0.010, [1.0, -2.0]), OTHER: Trial(0.004, [1.0, -2.001])}) == OTHER


def test_an_engine_that_answers_differently_is_not_taken_however_fast() -> None:
    assert fastest({USUAL: Trial(0.010, [1.0, -2.0]), OTHER: Trial(0.001, [1.0, -1.5])}) == USUAL
    assert fastest({USUAL: Trial(0.010, [1.0, -2.0]), OTHER: Trial(0.001, [1.0])}) == USUAL


def test_the_usual_engine_stays_where_another_is_hardly_faster_or_the_only_one() -> None:
    assert fastest({USUAL: Trial(0.0100, [1.0]), OTHER: Trial(0.0098, [1.0])}) == USUAL
    assert fastest({OTHER: Trial(0.001, [1.0])}) == USUAL


@pytest.mark.parametrize(
    "settings", [EngineSettings(), EngineSettings(name=OTHER), EngineSettings(name=USUAL, remember=Path("x"))]
)
def test_nothing_is_measured_without_a_place_to_remember_or_when_told(
    settings: EngineSettings, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "installed_engines", lambda: (USUAL, OTHER))
    monkeypatch.setattr(choosing, "_tried", None)
    assert chosen_engine(settings, bundle) == (USUAL if settings.name == "auto" else settings.name)


def test_the_choice_is_measured_once_and_then_read(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    times = {USUAL: 0.010, OTHER: 0.004}

    def try_one(path: Path, name: str, threads: int, seconds: float) -> Trial:
        assert (path, threads, seconds) == (bundle.path, 1, 1.0)
        tried.append(name)
        return Trial(times[name], [1.0])

    _two_engines(monkeypatch)
    monkeypatch.setattr(choosing, "_tried", try_one)
    settings = EngineSettings(remember=tmp_path / "state" / "engine.json")
    assert chosen_engine(settings, bundle) == OTHER
    assert chosen_engine(settings, bundle) == OTHER
    assert tried == [USUAL, OTHER]
    monkeypatch.setattr(choosing.importlib.metadata, "version", lambda name: "2.0")
    times[OTHER] = 1.0
    assert chosen_engine(settings, bundle) == USUAL, "another version is measured again"
    assert len(tried) == 4


def test_a_memory_that_cannot_be_read_or_written_costs_a_measurement_and_nothing_else(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _two_engines(monkeypatch)
    monkeypatch.setattr(choosing, "_tried", lambda *_: Trial(0.01, [1.0]))
    damaged = tmp_path / "damaged.json"
    damaged.write_text('{"engines": []')
    assert chosen_engine(EngineSettings(remember=damaged), bundle) == USUAL
    assert USUAL in json.loads(damaged.read_text())["engines"].values(), "it is whole again"
    (tmp_path / "file").write_text("")
    assert chosen_engine(EngineSettings(remember=tmp_path / "file" / "engine.json"), bundle) == USUAL


def _two_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "installed_engines", lambda: (USUAL, OTHER))
    monkeypatch.setattr(choosing.importlib.metadata, "version", lambda name: "1.0")


def test_a_trial_in_a_process_of_its_own_gives_the_models_answer(tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    trial = choosing._tried(tiny_bundle.path, USUAL, 1, 0.01)
    assert trial is not None
    assert trial.frame_s > 0
    assert len(trial.answer) == 10
    assert choosing._tried(tmp_path, USUAL, 1, 0.01) is None, "no bundle there"


async def test_frames_are_answered_with_several_threads_on_chosen_processors(device: DeviceRuns, truth) -> None:  # type: ignore[no-untyped-def]
    processors = sorted(os.sched_getaffinity(0))[:1] if sys.platform == "linux" else []
    lines = await device.run(
        source__limit=3, source__loop=False, source__keep="all", deadline_s=20.0, engine__threads=2,
        engine__processors=processors, policy__name="fixed", policy__cut=3, policy__route="device",
    )  # fmt: skip
    assert_each_ended_once(lines, 3)
    for line in lines:
        assert_says(line, truth(line["source"]))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets programs choose")
def test_a_thread_is_pinned_and_let_go() -> None:
    before = os.sched_getaffinity(0)
    one = min(before)
    seen: list[set[int]] = []
    with pinned([one]):
        child = threading.Thread(target=lambda: seen.append(os.sched_getaffinity(0)))
        child.start()
        child.join()
    assert seen == [{one}]
    assert os.sched_getaffinity(0) == before


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets programs choose")
def test_processors_that_are_not_there_are_named() -> None:
    with pytest.raises(SettingsError, match="4095"):
        require_processors([4095])
    require_processors([])


def test_the_service_remembers_beside_its_state(tmp_path: Path) -> None:
    unit = (Path(__file__).parents[2] / "device" / "isthmus-device.service").read_text()
    (start,) = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    assert "--set engine.remember=%S/isthmus/engine.json" in start
    found: Settings = load(None, {"bundle": "b", "source.path": "p", "engine.remember": "/var/lib/isthmus/engine.json"})
    assert found.engine.remember == Path("/var/lib/isthmus/engine.json")
