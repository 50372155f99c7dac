"""However a run of the testbed ends, and whenever: no process, namespace, container or folder is left of it."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from isthmus.cli.testbed import app
from testbed.backends import docker, netns
from testbed.backends.backend import why_unplayable
from testbed.backends.named import backend_named
from testbed.scenarios import library

MOMENTS = int(os.environ.get("ISTHMUS_ENDINGS", "2"))
"""At which each backend is ended in each way."""
LATEST_S = 12.0
"""After its start, by which it has not ended."""
PATIENCE_S = 60.0


@pytest.mark.long
@pytest.mark.timeout(60 * MOMENTS + 120)
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda one: one.name)
@pytest.mark.parametrize("backend", ["process", "netns", "docker"])
def test_nothing_is_left_of_a_run_that_is_broken_off(tmp_path: Path, backend: str, ending: signal.Signals) -> None:
    name = "office-wifi" if backend == "docker" else "bad-day"
    if reasons := why_unplayable(backend_named(backend), library.open_scenario(name)[1]):
        pytest.skip("; ".join(reasons))
    chance = random.Random(f"{backend}/{ending}")
    for place in range(MOMENTS):
        run = _started(tmp_path, name, backend)
        if place == 0:
            _await_playing(run)
            assert len(_processes(tmp_path)) >= 4, "tiers, link and device"
        else:
            _let_run(run, chance.uniform(0.5, LATEST_S))
        run.send_signal(ending)
        run.communicate(timeout=PATIENCE_S)
        cleaned = CliRunner().invoke(app, ["clean", "--root", str(tmp_path), "--json"], catch_exceptions=False)
        assert cleaned.exit_code == 0
        assert _gone(tmp_path), f"{ending.name} left {_processes(tmp_path)}"
        assert list(tmp_path.iterdir()) == [], "folders are removed"
        assert not _named(run.pid), "namespaces and containers are removed"


def _started(root: Path, name: str, backend: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from isthmus.cli.main import main; main()", "testbed", "run", name]
    return subprocess.Popen(
        [*command, "--backend", backend, "--root", str(root)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


def _await_playing(run: subprocess.Popen[str]) -> None:
    """Until all programs run and frames are on their way."""
    assert run.stderr is not None
    assert any("playing" in line for line in run.stderr), "it said so before it ended"


def _let_run(run: subprocess.Popen[str], seconds: float) -> None:
    """Into whatever it is doing then; a whole run takes longer than this."""
    with pytest.raises(subprocess.TimeoutExpired):
        run.wait(seconds)


def _gone(folder: Path) -> bool:
    until_s = time.monotonic() + PATIENCE_S
    while _processes(folder):
        if time.monotonic() > until_s:
            return False
        time.sleep(0.05)
    return True


def _processes(folder: Path) -> list[str]:
    """Command lines that name the folder, of processes other than this one."""
    found = []
    for path in Path("/proc").iterdir():
        if re.fullmatch(r"\d+", path.name) and int(path.name) != os.getpid():
            try:
                words = (path / "cmdline").read_bytes().split(b"\0")
            except OSError:  # it has just ended
                continue
            if any(os.fsencode(str(folder)) in word for word in words):
                found.append(b" ".join(words).decode())
    return found


def _named(pid: int) -> list[str]:
    """Namespaces and containers of a run, which bear the number of its process."""
    found = []
    if not netns.why_not():
        listed = subprocess.run(["ip", "-json", "netns", "list"], capture_output=True, text=True, check=True).stdout
        found += [one["name"] for one in json.loads(listed or "[]")]
    if not docker.why_not():
        shown = ["docker", "ps", "--all", "--format", "{{.Names}}"]
        found += subprocess.run(shown, capture_output=True, text=True, check=True).stdout.split()
    return [one for one in found if f"-{pid}-" in one]
