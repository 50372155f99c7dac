"""Upgrades over one version under load: old devices with new tiers and the reverse, and no frame is lost."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from isthmus.builtin.demo import BUNDLE, make_setting, moving_link
from testbed import toml
from testbed.processes import Child, Children
from testbed.setting import Setting
from tests.device.conftest import assert_each_ended_once
from tests.ports import reserved_port

ROOT = Path(__file__).parents[2]
PREVIOUS = os.environ.get("ISTHMUS_PREVIOUS", "442071b59af59bb2fc7369633341dcebbefd98de")
"""The commit that stands for the version before this one; a tag once there are releases."""
DEADLINE_S = 20.0
"""So long that a frame that is not answered was lost on the way, whatever else this machine does."""

RATE_HZ = 3
"""So few that a device without its tiers keeps up."""


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree of the previous version."""
    archive = subprocess.run(["git", "archive", PREVIOUS], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode != 0:
        pytest.skip(f"the history does not reach back to {PREVIOUS}")
    folder = tmp_path_factory.mktemp("previous")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
    return folder


@dataclass(frozen=True)
class Site:
    """Programs of either version, and what a device of theirs has done."""

    folder: Path
    children: Children
    setting: Setting

    def start(self, tree: Path, module: str, label: str, settings: dict[str, object]) -> Child:
        """A program out of a tree, whatever is installed."""
        config = self.folder / f"{label}.toml"
        config.write_text(toml.dumps(settings))
        environment = {"PYTHONPATH": str(tree)}
        which = [sys.executable, "-P", "-c", f"import {module}; print({module}.__file__)"]
        told = subprocess.run(which, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
        assert Path(told.stdout.strip()).is_relative_to(tree)
        command = [sys.executable, "-P", "-m", module, str(config)]
        return self.children.start(label, command, environment=environment, timeout_s=60)

    def tier(self, tree: Path, kind: str, port: int, label: str, **settings: object) -> Child:
        return self.start(tree, kind, label, {"bundles": [str(BUNDLE)], "listen": {"port": port}, **settings})

    def device(self, tree: Path, label: str, edge: int) -> Child:
        settings: dict[str, object] = {
            "bundle": BUNDLE,
            "deadline_s": DEADLINE_S,
            "emulated_slowdown": self.setting.slowdown,
            "source": {"path": self.setting.inputs, "rate_hz": RATE_HZ, "keep": "all"},  # else newer frames replace
            "edge": {"target": f"127.0.0.1:{edge}"},
            "policy": {"latency_weight": 10.0},  # else it would take its time and answer alone
            "history": {"path": self.folder / f"{label}.jsonl"},
        }
        return self.start(tree, "device", label, settings)

    def lines(self, label: str) -> list[dict[str, Any]]:
        path = self.folder / f"{label}.jsonl"
        text = path.read_text() if path.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def wait_for_tiers(self, label: str, count: int = 5) -> None:
        """Until `count` further frames of a device were answered by a tier."""
        since, until_s = len(self.lines(label)), time.monotonic() + 60
        while sum(line["by"] in ("edge", "cloud") for line in self.lines(label)[since:]) < count:
            assert time.monotonic() < until_s, f"no tier answers {label}: {self.lines(label)[-3:]}"
            time.sleep(0.1)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Children(tmp_path / "logs") as children:
        yield Site(tmp_path, children, make_setting(moving_link(1.0), tmp_path))


@pytest.fixture
def ports() -> Iterator[tuple[int, int]]:
    """Of cloud and edge: nobody else is given them while a tier is exchanged."""
    with reserved_port() as cloud, reserved_port() as edge:
        yield cloud, edge


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("order", ["tiers first", "devices first"])
def test_a_rolling_upgrade_under_load_loses_no_frame(
    site: Site, previous: Path, ports: tuple[int, int], order: str
) -> None:
    above_port, port = ports
    cloud = site.tier(previous, "cloud", above_port, "old cloud")
    above: dict[str, object] = {"cloud": {"target": f"127.0.0.1:{above_port}"}}
    edge = site.tier(previous, "edge", port, "old edge", **above)
    devices = {"old device": site.device(previous, "old device", port)}
    site.wait_for_tiers("old device")

    def new_cloud() -> None:
        cloud.stop()
        site.tier(ROOT, "cloud", above_port, "new cloud")

    def new_edge() -> None:
        edge.stop()
        site.tier(ROOT, "edge", port, "new edge", **above)

    def new_device() -> None:
        devices["new device"] = site.device(ROOT, "new device", port)

    steps: list[Callable[[], None]] = [new_cloud, new_edge, new_device]
    for step in steps if order == "tiers first" else reversed(steps):
        step()
        for label in devices:
            site.wait_for_tiers(label)

    for label, device in devices.items():
        device.stop(grace_s=30)
        lines = site.lines(label)
        assert_each_ended_once(lines)
        unanswered = [line for line in lines if line["ended"] != "answered"]
        assert not [line["reason"] for line in unanswered if "stopp" not in line["reason"]]
