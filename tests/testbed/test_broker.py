"""The broker as a program: it says when it listens, meets every signal, and outlives nobody."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from testbed import broker, toml
from testbed.processes import Child, Children

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(broker.why_not()), reason=broker.why_not())]


def _started(children: Children, folder: Path, port: int = 0) -> Child:
    config = folder / "broker.toml"
    config.write_text(toml.dumps({"folder": folder, "port": port}))
    return children.start("broker", [sys.executable, "-m", "testbed.broker", str(config)], timeout_s=60)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def test_it_listens_when_it_says_so_and_every_signal_meets_it(tmp_path: Path) -> None:
    with Children(tmp_path / "logs") as children:
        first = _started(children, tmp_path)
        port = first.ready["port"]
        assert _answers(port)
        first.kill()
        assert first.exit_code == -signal.SIGKILL
        second = _started(children, tmp_path, port)
        assert second.ready["port"] == port
        assert _answers(port)
        second.pause()
        second.resume()
    assert second.exit_code == 0, "mosquitto itself was asked to end, and did"


PARENT = """
import sys
from pathlib import Path
from testbed.processes import Children
with Children(Path(sys.argv[1])) as children:
    child = children.start("broker", [sys.executable, "-m", "testbed.broker", sys.argv[2]], timeout_s=60)
    print(child.ready["port"], flush=True)
    sys.stdin.readline()
"""


def test_it_goes_when_what_started_it_is_killed(tmp_path: Path) -> None:
    config = tmp_path / "broker.toml"
    config.write_text(toml.dumps({"folder": tmp_path}))
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "logs"), str(config)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    port = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    until_s = time.monotonic() + 60
    while _answers(port) and time.monotonic() < until_s:
        time.sleep(0.01)
    assert not _answers(port)
