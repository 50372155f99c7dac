"""No program survives: not an exit, not Ctrl-C, not a kill -9 of what started it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.errors import ChildError
from testbed.processes import Children

CHILD = """
import json, signal, sys, time
print("hello", flush=True)
print(json.dumps({"event": "ready", "port": 7}), flush=True)
for line in sys.stdin:
    print(json.dumps({"event": "heard", "line": line.strip()}), flush=True)
signal.pause()
"""

DEAF_CHILD = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + CHILD

PARENT = """
import sys
from pathlib import Path
from testbed.processes import Children
with Children(Path(sys.argv[1]), grace_s=0.2) as children:
    for name in ("one", "two"):
        children.start(name, [sys.executable, "-c", sys.argv[2]])
    print("started", flush=True)
    sys.stdin.readline()
"""


def _start_parent(folder: Path, child: str) -> tuple[subprocess.Popen[bytes], int]:
    """A parent with two children. They alone keep open the fifo that is returned, for reading."""
    fifo = folder / "alive"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    holding = f"held = open({str(fifo)!r}, 'w')\n" + child
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(folder / "logs"), holding], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"started\n"
    assert not select.select([reading], [], [], 0)[0]
    return parent, reading


def _gone(reading: int) -> bool:
    """Whether nobody holds the fifo any more, after at most ten seconds."""
    return bool(select.select([reading], [], [], 10)[0]) and os.read(reading, 1) == b""


@pytest.mark.parametrize("child", [CHILD, DEAF_CHILD], ids=["willing", "deaf"])
@pytest.mark.parametrize("ending", ["exit", "ctrl-c", "terminate", "kill -9"])
def test_no_child_survives_its_parent(tmp_path: Path, child: str, ending: str) -> None:
    parent, reading = _start_parent(tmp_path, child)
    try:
        if ending == "exit":
            parent.communicate(b"\n", timeout=20)
        else:
            number = {"ctrl-c": signal.SIGINT, "terminate": signal.SIGTERM, "kill -9": signal.SIGKILL}[ending]
            parent.send_signal(number)
        assert _gone(reading)
    finally:
        parent.kill()
        parent.communicate()
        os.close(reading)


def test_a_child_hears_and_answers(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        child = children.start("ear", [sys.executable, "-c", CHILD])
        assert child.ready == {"event": "ready", "port": 7}
        child.tell("good morning")
        assert child.event("heard", 10)["line"] == "good morning"
        assert child.exit_code is None
    assert child.exit_code == -signal.SIGTERM


def test_a_failed_start_shows_the_log(tmp_path: Path) -> None:
    program = "import sys; sys.exit('the port is taken')"
    with Children(tmp_path) as children, pytest.raises(ChildError, match=r"'edge' ended with exit code 1(.|\n)*taken"):
        children.start("edge", [sys.executable, "-c", program])


def test_a_silent_child_is_given_up_and_stopped(tmp_path: Path) -> None:
    with Children(tmp_path, grace_s=0.1) as children:
        with pytest.raises(ChildError, match=r"did not say 'ready' within 0\.3 s"):
            children.start("mute", [sys.executable, "-c", "import signal; signal.pause()"], timeout_s=0.3)
        silent = children._children[0]
    assert silent.exit_code == -signal.SIGTERM


def test_a_killed_child_cannot_be_told_anything(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        child = children.start("edge", [sys.executable, "-c", CHILD])
        child.kill()
        assert child.exit_code == -signal.SIGKILL
        with pytest.raises(ChildError, match="ended and cannot be told"):
            child.tell("still there?")
