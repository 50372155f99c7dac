"""The demo as a person starts it: real processes, a moving link, a report."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
START = [sys.executable, "-c", "import sys; from isthmus.cli.main import main; main(sys.argv[1:])", "demo"]


def _processes_with(text: str) -> list[str]:
    """Command lines of live processes that name `text`."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if text in command:
                found.append(command)
    return found


@pytest.fixture
def arguments(tmp_path: Path) -> Iterator[list[str]]:
    yield ["--work", str(tmp_path / "work"), "--report", str(tmp_path / "report.html")]
    assert _processes_with(str(tmp_path)) == []


@pytest.mark.timeout(150)
def test_the_demo_compares_four_ways_and_loses_no_frame(arguments: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [*START, "--json", "--seconds", "5", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=140,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["alternatives"]
    assert set(found) == {"adaptive", "device_only", "cloud_jpeg", "best_fixed"}
    for figures in found.values():
        assert figures["frames"] == 50
        assert figures["frames_lost"] == 0
        assert figures["mean_latency_s"] > 0
    assert found["device_only"]["bytes_per_frame"] == 0
    assert found["adaptive"]["bytes_per_frame"] > 0
    page = (tmp_path / "report.html").read_text()
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page


@pytest.mark.slow
def test_ctrl_c_ends_everything(arguments: list[str], tmp_path: Path) -> None:
    demo = subprocess.Popen(
        [*START, "--seconds", "30", *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    history = tmp_path / "work" / "adaptive.history.jsonl"
    try:
        while not (history.exists() and history.stat().st_size):
            assert demo.poll() is None, demo.stderr and demo.stderr.read()
            os.sched_yield()
        demo.send_signal(signal.SIGINT)
        _, errors = demo.communicate(timeout=30)
    finally:
        demo.kill()
    assert demo.returncode == 130
    assert b"Traceback" not in errors
