"""The profiles of the stack, really brought up: a link that changes, figures and alerts, state in PostgreSQL."""

from __future__ import annotations

import json
import subprocess
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cloud.control.client import Client
from compose import stack
from tests.stack.engine import PATIENCE_S, containers, docker, history, needs_an_engine, token, until

ROOT = Path(__file__).parents[2]
pytestmark = [*needs_an_engine, pytest.mark.usefixtures("running")]


def set_link(*arguments: str) -> None:
    docker("exec", containers()["link"], "/opt/isthmus/bin/python", "/opt/isthmus/link.py", "set", *arguments)


def last(count: int, since: int = 0) -> list[dict[str, Any]]:
    """The last frames of the device behind the link, of those after `since` lines."""
    return history("camera-3")[since:][-count:]


def all_by(who: tuple[str, ...], since: int) -> bool:
    """Whether the last twenty frames that were answered since then were answered by these."""
    answered = [line for line in last(40, since) if line["ended"] == "answered"][-20:]
    return len(answered) == 20 and all(line["by"] in who for line in answered)


def test_a_link_dies_and_lives_and_slows_down_under_a_running_device() -> None:
    stack.up(PATIENCE_S, ["chaos"])
    until(partial(all_by, ("edge", "cloud"), 0), "tiers answer the device behind the link")
    seen = len(history("camera-3"))
    set_link("--dead")
    until(partial(all_by, ("device",), seen), "the device answers alone while its link is dead")
    seen = len(history("camera-3"))
    set_link("--alive")
    until(partial(all_by, ("edge", "cloud"), seen), "tiers answer again")
    seen = len(history("camera-3"))
    set_link("--delay", "0.15")

    def slow() -> bool:
        by_tiers = [line for line in last(40, seen) if line["by"] in ("edge", "cloud")]
        return bool(by_tiers) and by_tiers[-1]["latency_s"] >= 0.3

    until(slow, "an answer takes the way up and the way down")
    numbers = [line["frame"] for line in history("camera-3")]
    assert len(numbers) == len(set(numbers))


def asked(question: str) -> dict[str, float]:
    """What Prometheus answers, by instance or alert."""
    command = [
        "exec",
        containers()["prometheus"],
        "promtool",
        "query",
        "instant",
        "-o",
        "json",
        "http://localhost:9090",
    ]
    found = json.loads(docker(*command, question))
    return {one["metric"].get("instance", one["metric"].get("alertname", "")): float(one["value"][1]) for one in found}


def test_prometheus_reads_tiers_and_control_plane_over_tls_and_minds_the_alerts() -> None:
    subprocess.run([str(ROOT / "compose" / "prepare.sh"), "obs"], check=True, cwd=ROOT)
    stack.compose("up", "--detach", "--no-build", "prometheus")  # Grafana and the collector come from a registry
    stack.until_well(PATIENCE_S)
    three = {"edge": 1.0, "cloud": 1.0, "control": 1.0}
    until(lambda: asked('up{job!="isthmus-traces"}') == three, "all three are scraped")
    until(lambda: asked('sum by (instance) (isthmus_frames_total{outcome="answered"})').get("edge", 0) > 0, "frames")
    until(lambda: asked('isthmus_control_devices{state="here"}').get("control", 0) >= 2, "devices")
    docker("stop", containers()["cloud"])
    until(lambda: bool(asked('ALERTS{alertname="TierDown"}')), "a tier that is gone is minded")
    docker("start", containers()["cloud"])
    stack.until_well(PATIENCE_S)


def test_pages_show_the_queues_of_tiers_in_other_containers() -> None:
    command = (
        "import json, pathlib; from cloud.control.settings import load; "
        "from cloud.control.dashboard.tiers import look; "
        "found = look(load(pathlib.Path('/etc/isthmus/control.toml')).tiers); "
        "print(json.dumps({one.name: one.trouble for one in found}))"
    )
    told = docker("exec", containers()["control"], "/opt/isthmus/bin/python", "-c", command)
    assert json.loads(told) == {"edge": "", "cloud": ""}


def test_a_backup_of_sqlite_is_restored_into_postgresql_and_the_fleet_goes_on(tmp_path: Path) -> None:
    ca, admin = tmp_path / "ca.pem", token()
    ca.write_text(docker("exec", containers()["control"], "cat", "/identity/ca.pem"))
    control = ["isthmus", "control", "/etc/isthmus/control.toml"]
    backup = subprocess.run(
        ["docker", "exec", containers()["control"], *control, "--backup", "-"], capture_output=True, check=True
    ).stdout
    subprocess.run([str(ROOT / "compose" / "prepare.sh"), "postgres"], check=True, cwd=ROOT)
    stack.compose("up", "--detach", "--no-build", "postgres")
    stack.until_well(PATIENCE_S)
    chosen = stack.settings_of(["postgres"])["ISTHMUS_DATABASE"]
    restoring = [
        *("docker", "run", "--rm", "--interactive", "--user=10001:10001", f"--network={stack.PROJECT}_field"),
        *("-v", f"{stack.PROJECT}_control-identity:/identity:ro", "-v", f"{stack.PROJECT}_control-state:/state"),
        *("-v", f"{ROOT}/compose/control.toml:/etc/isthmus/control.toml:ro", "isthmus-tier:0.1.0", *control[1:]),
        *("--set", f"database={chosen}", "--restore", "-"),
    ]
    done = subprocess.run(restoring, input=backup, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    stack.up(PATIENCE_S, ["postgres"])
    with closing(Client("https://localhost:7300", admin, ca)) as client:  # a token that only the backup knows

        def told_since() -> bool:
            devices = {device["name"]: device["seen_at"] or 0.0 for device in client.get("/v1/devices")}
            return {"camera-1", "camera-2"} <= {name for name, at in devices.items() if at > before[name]}

        before = {device["name"]: device["seen_at"] or 0.0 for device in client.get("/v1/devices")}
        until(told_since, "devices tell their figures to the control plane on PostgreSQL")
    settings = docker("exec", containers()["control"], "ls", "/state")
    assert "control.db" in settings  # the old state stays where it was
