"""Ways of a live comparison are played side by side, each once, and what one needs of another comes first."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks import live_records
from benchmarks.live_records import WAYS, Records
from isthmus.builtin import demo
from testbed.alternatives import Alternative
from testbed.figures import RunRecord
from testbed.link.settings import DirectionSettings
from testbed.setting import Setting

AIR = DirectionSettings(kind="unlimited")
SETTING = Setting(bundle=Path("none"), inputs=Path("none"), labels={}, uplink=AIR, downlink=AIR, frames=10)


class Stage:
    """In place of programs: remembers which ways ran beside which."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []

    @contextmanager
    def tiers(self, setting: Setting, folder: Path) -> Iterator[None]:
        self.groups.append([])
        yield

    def run(self, setting: Setting, alternative: Alternative, running: None) -> RunRecord:
        self.groups[-1].append(alternative.name)
        return RunRecord(alternative, setting, (), (), 10, 0.0)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage()
    monkeypatch.setattr(demo, "make_setting", lambda *given, **more: SETTING)
    monkeypatch.setattr(live_records, "APART_S", 1e-3)
    monkeypatch.setattr(live_records, "tiers", stage.tiers)
    monkeypatch.setattr(live_records, "run_alternative", stage.run)
    monkeypatch.setattr(Records, "_alternative", lambda self, way: Alternative(way, {"name": way}, way))
    return stage


def records(folder: Path) -> Records:
    return Records(folder, demo.Link(AIR, AIR, 1.0))


def test_every_way_is_played_once_the_adaptive_one_first_and_alone(stage: Stage, tmp_path: Path) -> None:
    played = records(tmp_path)
    played.play(time.monotonic() + 1e6, together=5)
    assert sorted(way for group in stage.groups for way in group) == sorted(WAYS)
    assert max(map(len, stage.groups)) == 5
    assert stage.groups[0] == ["adaptive"]
    assert records(tmp_path).missing == []
    assert records(tmp_path).record("adaptive").captured == 10


def test_nothing_is_begun_that_would_not_end_in_time(stage: Stage, tmp_path: Path) -> None:
    records(tmp_path).play(time.monotonic() + 1.0, together=3)
    assert stage.groups == []
