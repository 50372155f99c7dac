"""What idle, silent and slow peers cost a tier: its memory, and the slowest answers of a good caller."""

from __future__ import annotations

import asyncio
import socket
import statistics
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from pathlib import Path

from benchmarks import failover, storm
from benchmarks.figure import Figure
from benchmarks.wire import Trip, far_ends, frame_stream
from transport.settings import Dial

IDLE = 2000
ROUGH = 200
"""Peers of each bad kind."""
IDLE_MS = 5000
PATIENCE_S = 60.0
ROUNDS = 9
TRIPS = 2000
"""A p99 of which is the twentieth slowest, not the second."""
PAYLOAD = bytes(16 << 10)

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""A client's first bytes (RFC 9113, section 3.4), with empty settings."""


def figures() -> Sequence[Figure]:
    """Memory of idle connections, how many outlive the idle limit, p99 beside peers of each bad kind, and failover."""
    with far_ends(str(IDLE_MS)) as ports:
        found = _idle(ports)
    with far_ends() as ports:
        found += asyncio.run(_beside(ports["frames"]))
    return [*found, *failover.figures(), *storm.figures()]


def _idle(ports: dict[str, int]) -> list[Figure]:
    before = _resident(ports["pid"])
    with ExitStack() as opened:
        peers = [opened.enter_context(_connected(ports["frames"], _PREFACE)) for _ in range(IDLE)]
        for peer in peers:
            peer.recv(9)  # the tier's settings: it has taken the connection
        grown = (_resident(ports["pid"]) - before) / 2**20
        until = time.monotonic() + IDLE_MS / 1000 + PATIENCE_S
        left = sum(not _closed_by(peer, until) for peer in peers)
    return [
        Figure(f"{IDLE} idle connections", grown, "MiB", 128.0, "at most", "before them"),
        Figure("of them left after the idle limit", left, "connections", 0.0, "at most", "idle limit"),
    ]


def _connected(port: int, first: bytes) -> socket.socket:
    peer = socket.create_connection(("127.0.0.1", port), timeout=20)
    peer.sendall(first)
    return peer


def _closed_by(peer: socket.socket, until_s: float) -> bool:
    try:
        while True:
            peer.settimeout(max(0.001, until_s - time.monotonic()))
            if not peer.recv(4096):
                return True
    except ConnectionError:
        return True
    except TimeoutError:
        return False


async def _beside(port: int) -> list[Figure]:
    found = []
    async with frame_stream(Dial(target=f"127.0.0.1:{port}")) as trip:
        await _p99_s(trip)
        for name, peers in KINDS.items():
            ratios = []
            for _ in range(ROUNDS):
                alone = await _p99_s(trip)
                async with peers(port):
                    ratios.append(await _p99_s(trip) / alone)
            found.append(Figure.of_runs(f"p99 beside {ROUGH} {name}", ratios, "times", 1.2, "at most", "alone"))
    return found


async def _p99_s(trip: Trip) -> float:
    taken = []
    for _ in range(TRIPS):
        began = time.perf_counter()
        await trip(PAYLOAD)
        taken.append(time.perf_counter() - began)
    return statistics.quantiles(taken, n=100)[98]


@asynccontextmanager
async def _silent(port: int) -> AsyncIterator[None]:
    """Connected, and not a byte."""
    with ExitStack() as opened:
        for _ in range(ROUGH):
            opened.enter_context(_connected(port, b""))
        yield


@asynccontextmanager
async def _dripping(port: int) -> AsyncIterator[None]:
    """A byte each, twice a second: slow-loris."""
    with ExitStack() as opened:
        peers = [opened.enter_context(_connected(port, b"")) for _ in range(ROUGH)]

        async def drip() -> None:
            for byte in _PREFACE:
                for first in range(10):
                    for peer in peers[first::10]:
                        peer.send(bytes([byte]))
                    await asyncio.sleep(0.05)

        task = asyncio.create_task(drip())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])


@asynccontextmanager
async def _deaf(port: int) -> AsyncIterator[None]:
    """Pings without end to a connection that never reads the answers, and no stream."""
    ping = bytes([0, 0, 8, 6, 0, 0, 0, 0, 0]) + bytes(8)
    with ExitStack() as opened:
        for _ in range(ROUGH):
            opened.enter_context(_connected(port, _PREFACE + ping))
        yield


KINDS: dict[str, Callable[[int], AbstractAsyncContextManager[None]]] = {
    "silent": _silent,
    "dripping": _dripping,
    "deaf": _deaf,
}


def _resident(pid: int) -> int:
    """Bytes of a process in memory."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) << 10
