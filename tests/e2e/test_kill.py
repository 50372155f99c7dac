"""kill -9 of a tier in the middle of a run of the built-in bundle over the demo's link, and its return."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from isthmus.builtin.demo import BUNDLE, DELAY_S, GOOD_BPS, make_setting, moving_link
from testbed import toml
from testbed.processes import Child, Children
from tests.device.conftest import assert_each_ended_once

AWAY_S = 2.0
"""How long the tier is gone."""
BACK_IN_USE_S = 2.0
"""Within this time of its return it answers again."""


@dataclass(frozen=True)
class Stage:
    """A folder and the programs that run from it."""

    folder: Path
    children: Children

    def start(self, module: str, label: str, settings: dict[str, object]) -> Child:
        config = self.folder / f"{label}.toml"
        config.write_text(toml.dumps(settings))
        return self.children.start(label, [sys.executable, "-m", module, str(config)])

    def start_tier(self, kind: str, port: int, label: str) -> Child:
        return self.start(kind, label, {"bundles": [BUNDLE], "listen": {"port": port}})

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Whole lines of the device's history so far."""
        path = self.folder / "history.jsonl"
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def wait_for(self, holds: Callable[[], bool], what: str) -> None:
        """Read the history until something holds."""
        until_s = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < until_s, f"{what}: {self.lines[-3:]}"
            time.sleep(0.05)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Children(tmp_path / "logs") as children:
        yield Stage(tmp_path, children)


def _start_device(stage: Stage, kind: str, port: int) -> Child:
    setting = make_setting(moving_link(1.0), stage.folder)
    radio = {"kind": "rate", "rate_bps": GOOD_BPS, "delay_s": DELAY_S}
    forward = {"name": kind, "target": f"127.0.0.1:{port}"}
    link = stage.start("testbed.link", "link", {"uplink": radio, "downlink": radio, "forward": [forward]})
    link.tell("start")
    link.event("started", 30)
    settings: dict[str, object] = {
        "bundle": BUNDLE,
        "deadline_s": setting.deadline_s,
        "emulated_slowdown": setting.slowdown,
        "source": {"path": setting.inputs, "rate_hz": setting.rate_hz},
        kind: {"target": f"127.0.0.1:{link.ready['ports'][kind]}"},
        "history": {"path": stage.folder / "history.jsonl"},
    }
    return stage.start("device", "device", settings)


@pytest.mark.timeout(180)
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["edge", "cloud"])
def test_a_killed_tier_costs_no_frame_and_is_used_again_when_it_returns(
    stage: Stage, kind: str, reserved_port: int
) -> None:
    tier = stage.start_tier(kind, reserved_port, "tier")
    device = _start_device(stage, kind, reserved_port)

    def answers(since: int, by: str) -> int:
        return sum(line["by"] == by for line in stage.lines[since:])

    stage.wait_for(lambda: answers(0, kind) >= 20, f"the {kind} answers")
    tier.kill()
    killed_at = len(stage.lines)
    time.sleep(AWAY_S)  # the length of the outage is part of the claim
    stage.start_tier(kind, reserved_port, "tier again")
    returned_at, returned_s = len(stage.lines), time.monotonic()
    stage.wait_for(lambda: answers(returned_at, kind) >= 1, f"the {kind} answers again")
    away_s = time.monotonic() - returned_s
    stage.wait_for(lambda: answers(returned_at, kind) >= 10, f"the {kind} stays in use")
    device.stop()

    lines = stage.lines
    assert_each_ended_once(lines)
    assert answers(killed_at, "device") > 0
    in_flight = 3
    assert {line["by"] for line in lines[killed_at + in_flight : returned_at]} <= {"device", None}
    assert all(line["reason"] for line in lines if line["ended"] != "answered")
    assert away_s < BACK_IN_USE_S
