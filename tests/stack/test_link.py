"""The link of the profile `chaos`: its conditions change while bytes cross it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from compose import link
from compose.link import Conditions


@contextmanager
def served(folder: Path) -> Iterator[tuple[Path, socket.socket, socket.socket]]:
    """A running link, and a connection's two ends, near and far."""
    state = folder / "link.json"
    with socket.create_server(("127.0.0.1", 0)) as target:
        name = f"127.0.0.1:{target.getsockname()[1]}"
        link.write(state, Conditions(delay_s=0.0))
        running = link.Link(state, [(0, name)])
        ending, waking = socket.socketpair()
        thread = threading.Thread(target=lambda: all(iter(lambda: running.step(ending), False)))
        thread.start()
        try:
            with socket.create_connection(("127.0.0.1", running.emulator.ports[name]), timeout=20) as near:
                far, _ = target.accept()
                with far:
                    far.settimeout(20)
                    yield state, near, far
        finally:
            waking.send(b"x")
            thread.join(20)
            running.emulator.close()
            ending.close()
            waking.close()


def crossing_s(near: socket.socket, far: socket.socket, size: int) -> float:
    """How long bytes take."""
    began_s = time.monotonic()
    near.sendall(bytes(size))
    left = size
    while left:
        left -= len(far.recv(left))
    return time.monotonic() - began_s


def told(state: Path, *arguments: str) -> int:
    return link.main(["set", *arguments], state)


def test_rate_and_delay_change_while_a_connection_is_open(tmp_path: Path) -> None:
    with served(tmp_path) as (state, near, far):
        crossing_s(near, far, 1)
        assert told(state, "--delay", "0.3") == 0
        wait_for(lambda: crossing_s(near, far, 1) >= 0.3)
        assert told(state, "--delay", "0", "--up", "80000") == 0
        wait_for(lambda: crossing_s(near, far, 3000) >= 0.29)  # 3000 bytes at 10,000 bytes a second


def wait_for(holds: object) -> None:
    """A change is noticed within a moment, never at once."""
    assert callable(holds)
    until_s = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < until_s


def test_while_it_is_dead_bytes_wait_and_nothing_is_closed(tmp_path: Path) -> None:
    with served(tmp_path) as (state, near, far):
        crossing_s(near, far, 1)
        told(state, "--dead")
        far.settimeout(0.5)
        wait_for(lambda: _nothing_arrives(near, far))
        told(state, "--alive")
        far.settimeout(20)
        assert far.recv(1)


def _nothing_arrives(near: socket.socket, far: socket.socket) -> bool:
    near.sendall(b"x")
    try:
        far.recv(100)
    except TimeoutError:
        return True
    return False


def test_what_makes_no_sense_is_refused_and_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "link.json"
    link.write(state, Conditions())
    assert told(state, "--up", "0") == 2
    assert "--dead ends all" in capsys.readouterr().err
    assert link.read(state) == Conditions()
    assert told(state, "--up", "5e5", "--dead") == 0
    assert json.loads(capsys.readouterr().out) == {"up_bps": 5e5, "down_bps": 20e6, "delay_s": 0.02, "dead": True}


def test_the_program_serves_until_it_is_told_to_stop(tmp_path: Path, reserved_port: int) -> None:
    state = tmp_path / "link.json"
    assert link.check(state) == 1
    arguments = f"pathlib.Path({str(state)!r}), ['127.0.0.2:{reserved_port}']"
    code = f"import pathlib; from compose import link; raise SystemExit(link.serve({arguments}))"
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        wait_for(lambda: link.check(state) == 0)
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
