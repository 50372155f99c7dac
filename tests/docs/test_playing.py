"""Scripts of pages leave no program behind, however the tests that run them end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.docs.pages import ROOT
from tests.docs.playing import PORTS, exchange, exchanged, played, surroundings

STAYS = "sleep 1000 & echo $! >pid; wait"


def until(holds: Callable[[], bool], patience_s: float = 60.0) -> bool:
    deadline_s = time.monotonic() + patience_s
    while not holds() and time.monotonic() < deadline_s:
        time.sleep(0.02)
    return holds()


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def started(folder: Path) -> int:
    """The number of the program that the script has started."""
    file = folder / "pid"
    assert until(lambda: file.exists() and file.read_text().endswith("\n"))
    return int(file.read_text())


def test_programs_of_a_script_end_with_it(tmp_path: Path) -> None:
    done = played("sleep 1000 & echo $! >pid; echo said; exit 3", tmp_path, surroundings(tmp_path), patience_s=60)
    assert (done.returncode, done.stdout) == (3, "said\n")
    assert until(lambda: gone(started(tmp_path)))


def test_a_script_that_does_not_end_is_ended(tmp_path: Path) -> None:
    done = played(STAYS, tmp_path, surroundings(tmp_path), patience_s=0.5)
    assert done.returncode == -signal.SIGKILL
    assert "not done after" in done.stdout
    assert until(lambda: gone(started(tmp_path)))


def test_programs_of_a_script_end_when_the_test_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.docs.playing import played, surroundings; "
        "folder = Path(sys.argv[1]); played(sys.argv[2], folder, surroundings(folder), 1000)"
    )
    around = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path), STAYS], env=around) as test:
        program = started(tmp_path)
        assert not gone(program)
        test.kill()
    assert until(lambda: gone(program))


def test_names_amounts_and_ports_are_exchanged_and_all_else_is_left() -> None:
    table = exchanged()
    other = dict(table)[rf"\b{PORTS[0]}\b"]
    text = f"isthmus notices devices --at broker.local:{PORTS[0]}  # not 18830"
    assert exchange(text, table) == f"isthmus notices devices --at localhost:{other}  # not 18830"
    assert exchange("run --repeat 5 --seconds 600 --out x", table) == "run --repeat 2 --seconds 5 --out x"
    assert len({new for old, new in table if old.startswith(r"\b") and new.isdecimal()}) == len(PORTS)
