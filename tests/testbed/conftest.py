"""A link as a process, and plain TCP ends to put at both sides of it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass
class RunningLink:
    """A link process that is ready."""

    process: subprocess.Popen[bytes]
    ports: dict[str, int]
    record: Path

    def start(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"start\n")
        self.process.stdin.flush()
        assert self.process.stdout is not None
        assert json.loads(self.process.stdout.readline())["event"] == "started"

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=10)


@pytest.fixture
def link(tmp_path: Path) -> Iterator[Callable[..., RunningLink]]:
    """Start `python -m testbed.link` with the given directions and targets, its clock still standing."""
    with ExitStack() as stack:

        def start(
            targets: dict[str, int], uplink: str, downlink: str = 'kind = "unlimited"', extra_s: float = 0.0
        ) -> RunningLink:
            record = tmp_path / "link.jsonl"
            forwards = "".join(
                f'[[forward]]\nname = "{name}"\ntarget = "127.0.0.1:{port}"\nextra_delay_s = {extra_s}\n'
                for name, port in targets.items()
            )
            config = tmp_path / "link.toml"
            config.write_text(
                f'[uplink]\n{uplink}\n[downlink]\n{downlink}\n{forwards}[record]\npath = "{record}"\n', encoding="utf-8"
            )
            process = subprocess.Popen(
                [sys.executable, "-m", "testbed.link", str(config)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            running = RunningLink(process, {}, record)
            stack.callback(running.stop)
            assert process.stdout is not None
            running.ports = json.loads(process.stdout.readline())["ports"]
            return running

        yield start


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listening TCP socket on a port of the system's choice."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        yield server


@pytest.fixture
def through(listener: socket.socket) -> Iterator[Callable[[int], tuple[socket.socket, socket.socket]]]:
    """Connect through a port of the link; gives the client's end and the target's end."""
    with ExitStack() as stack:

        def connect(port: int) -> tuple[socket.socket, socket.socket]:
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            target = stack.enter_context(listener.accept()[0])
            target.settimeout(10)
            target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return client, target

        yield connect
