"""The emulator as a process: queues, endings, order and its own errors."""

from __future__ import annotations

import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Link = Callable[..., Any]
Through = Callable[[int], tuple[socket.socket, socket.socket]]


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        assert more, f"ended after {len(data)} of {size} bytes"
        data += more
    return data


def _send_all_that_fits(sock: socket.socket) -> int:
    """Send until nothing more is taken for half a second; returns the bytes."""
    sent = 0
    sock.setblocking(False)
    while select.select([], [sock], [], 0.5)[1]:
        sent += sock.send(bytes(4096))
    return sent


def _small_buffers(listener: socket.socket, client: socket.socket | None = None) -> int:
    """Make the kernel's buffers of the test's own ends small; returns a bound on what they hold."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    if client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return 2 * 8192


def test_a_receiver_that_does_not_read_fills_only_the_queue(
    link: Link, through: Through, listener: socket.socket
) -> None:
    _small_buffers(listener)
    running = link({"edge": listener.getsockname()[1]}, 'kind = "rate"\nrate_bps = 50e6\nqueue_bytes = 100000')
    running.start()
    client, _ = through(running.ports["edge"])
    held = _small_buffers(listener, client)
    assert _send_all_that_fits(client) <= 100_000 + held + 16_384


def test_a_dead_link_holds_its_queue_and_no_more(link: Link, through: Through, listener: socket.socket) -> None:
    running = link({"edge": listener.getsockname()[1]}, 'kind = "steps"\nsteps = [[1, 0]]\nqueue_bytes = 100000')
    client, target = through(running.ports["edge"])
    client.sendall(b"before")
    assert _exactly(target, 6) == b"before"
    running.start()
    held = _small_buffers(listener, client)
    sent = _send_all_that_fits(client)
    assert 80_000 <= sent <= 100_000 + held
    assert not select.select([target], [], [], 0)[0]


def test_a_dead_link_closes_nothing_and_releases_in_order(
    link: Link, through: Through, listener: socket.socket
) -> None:
    running = link({"edge": listener.getsockname()[1]}, 'kind = "steps"\nsteps = [[0.6, 0], [1, 2e6]]')
    first, first_target = through(running.ports["edge"])
    second, second_target = through(running.ports["edge"])
    running.start()
    started_s = time.monotonic()
    text = b"".join(struct.pack("<I", number) for number in range(10_000))
    first.sendall(text)
    first.shutdown(socket.SHUT_WR)
    second.sendall(b"later")
    assert not select.select([first_target, second_target, first, second], [], [], 0.4)[0]
    assert _exactly(first_target, len(text)) == text
    assert time.monotonic() - started_s >= 0.6
    assert first_target.recv(1) == b""
    assert _exactly(second_target, 5) == b"later"
    first_target.sendall(b"answer after the end of the question")
    assert _exactly(first, 6) == b"answer"


def test_forwards_share_one_queue(link: Link, through: Through, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    running = link({"edge": port, "cloud": port}, 'kind = "rate"\nrate_bps = 1e6')
    edge, edge_target = through(running.ports["edge"])
    cloud, cloud_target = through(running.ports["cloud"])
    running.start()
    started_s = time.monotonic()
    edge.sendall(bytes(25_000))
    assert edge_target.recv(1)
    cloud.sendall(b"small")
    assert _exactly(cloud_target, 5) == b"small"
    assert time.monotonic() - started_s >= 25_000 * 8 / 1e6 * 0.97
    _exactly(edge_target, 24_999)


def test_a_target_that_refuses_resets_the_client(link: Link, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    running = link({"edge": port}, 'kind = "rate"\nrate_bps = 1e6')
    with (  # the reset may come before the connection is handed over
        pytest.raises(ConnectionResetError),
        socket.create_connection(("127.0.0.1", running.ports["edge"]), timeout=10) as client,
    ):
        client.recv(1)


@pytest.mark.parametrize("dying", ["client", "target"])
def test_a_reset_of_one_end_reaches_the_other_at_once(
    link: Link, through: Through, listener: socket.socket, dying: str
) -> None:
    running = link({"edge": listener.getsockname()[1]}, *['kind = "steps"\nsteps = [[1, 0]]'] * 2)
    client, target = through(running.ports["edge"])
    running.start()
    gone, left = (client, target) if dying == "client" else (target, client)
    gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    gone.close()
    with pytest.raises(ConnectionResetError):
        left.recv(1)


def test_both_ends_may_reset_in_the_same_moment(link: Link, through: Through, listener: socket.socket) -> None:
    running = link({"edge": listener.getsockname()[1]}, 'kind = "unlimited"')
    ends = through(running.ports["edge"])
    running.process.send_signal(signal.SIGSTOP)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.close()
    running.process.send_signal(signal.SIGCONT)
    client, target = through(running.ports["edge"])
    client.sendall(b"still there")
    assert _exactly(target, 11) == b"still there"


def _refused(config: Path, text: str) -> tuple[int, str]:
    config.write_text(text)
    ended = subprocess.run(
        [sys.executable, "-m", "testbed.link", str(config)], capture_output=True, text=True, timeout=20, check=False
    )
    return ended.returncode, ended.stderr


def test_errors_are_one_sentence_with_a_documented_exit_code(tmp_path: Path, listener: socket.socket) -> None:
    config = tmp_path / "link.toml"
    forward = '[[forward]]\nname = "edge"\ntarget = "127.0.0.1:1"\n'
    good = '[downlink]\nkind = "unlimited"\n' + forward
    code, told = _refused(config, f'[uplink]\nkind = "trace"\npath = "{tmp_path / "no.up"}"\n{good}')
    assert (code, told.count("\n")) == (6, 1)
    assert "no.up" in told
    code, told = _refused(config, f'[uplink]\nkind = "rate"\nrate_bsp = 1\n{good}')
    assert (code, told.count("\n")) == (2, 1)
    assert "'rate_bps'" in told
    port = listener.getsockname()[1]
    code, told = _refused(config, f'[uplink]\nkind = "unlimited"\n{good}listen_port = {port}\n')
    assert (code, told.count("\n")) == (4, 1)
    assert str(port) in told
