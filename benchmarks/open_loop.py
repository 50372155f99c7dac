"""An open-loop client over HTTP/1.1: requests go out when they are due, whatever has become of those before.

A program of its own, so that it can have a processor to itself: one JSON object in, one out.

    echo '{"port": 8000, "request": "/tmp/request", "rate": 200, "seconds": 5, "deadline_s": 0.1}' |
        python -m benchmarks.open_loop

`request` is a file with the bytes of a whole request; `rate` is in requests a second, with exponential gaps, or 0: then
`connections` clients each send when they have their answer. An answer counts if its status is 200 and its last byte is
there by the deadline, counted from when the request was due; what is not answered by then is given up, as a client with
a deadline does.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

MOST_CONNECTIONS: Final = 256
_END: Final = b"\r\n\r\n"


@dataclass
class Seen:
    """What became of the requests. Latencies in seconds, from when a request was due."""

    offered: int = 0
    in_time: int = 0
    refused: int = 0
    given_up: int = 0
    latencies: list[float] = field(default_factory=list)


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[tuple[int, bytes]] | None = None
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(ConnectionResetError("the server closed the connection"))

    def ask(self, request: bytes) -> asyncio.Future[tuple[int, bytes]]:
        """Status and body of the answer, as soon as all of it is there."""
        assert self.transport is not None
        self._buffer.clear()
        self._answered = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._answered

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(_END)
        if end < 0 or self._answered is None or self._answered.done():
            return
        head = bytes(self._buffer[:end]).lower()
        at = head.find(b"content-length:")
        if at >= 0:
            length = int(head[at + 15 :].split(b"\r\n", 1)[0])
            if len(self._buffer) < end + 4 + length:
                return
        elif not self._buffer.endswith(b"0" + _END):  # chunks, the last of which is empty
            return
        self._answered.set_result((int(head[9:12]), bytes(self._buffer[end + 4 :])))


class Client:
    """Keeps connections that are free for the next request."""

    def __init__(self, port: int, request: bytes, deadline_s: float) -> None:
        self._port = port
        self._request = request
        self._deadline_s = deadline_s
        self._free: list[Connection] = []
        self._here = 0
        self.seen = Seen()

    async def ask(self, due_s: float) -> None:
        """One request."""
        seen = self.seen
        seen.offered += 1
        if self._here >= MOST_CONNECTIONS:
            seen.given_up += 1
            return
        self._here += 1
        connection = None
        try:
            async with asyncio.timeout(due_s + self._deadline_s - time.monotonic()):
                connection = await self._connection()
                status, _ = await connection.ask(self._request)
        except (TimeoutError, OSError):
            seen.given_up += 1
            if connection is not None and connection.transport is not None:
                connection.transport.abort()
            return
        finally:
            self._here -= 1
        self._free.append(connection)
        if status != 200:
            seen.refused += 1
            return
        seen.in_time += 1
        seen.latencies.append(time.monotonic() - due_s)

    async def _connection(self) -> Connection:
        while self._free:
            connection = self._free.pop()
            if connection.transport is not None and not connection.transport.is_closing():
                return connection
        _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", self._port)
        return connection


async def open_loop(client: Client, rate: float, seconds: float, seed: int) -> None:
    """Requests with exponential gaps."""
    generator = random.Random(seed)
    began_s = due_s = time.monotonic()
    async with asyncio.TaskGroup() as group:
        while due_s < began_s + seconds:
            due_s += generator.expovariate(rate)
            wait_s = due_s - time.monotonic()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            group.create_task(client.ask(due_s))


async def closed_loop(client: Client, connections: int, seconds: float) -> None:
    """Clients that each wait for their answer."""
    until_s = time.monotonic() + seconds

    async def one() -> None:
        while time.monotonic() < until_s:
            await client.ask(time.monotonic())

    await asyncio.gather(*(one() for _ in range(connections)))


async def play(wanted: dict[str, Any]) -> dict[str, float]:
    """One run; the figures of it."""
    client = Client(wanted["port"], Path(wanted["request"]).read_bytes(), wanted["deadline_s"])
    began_s = time.monotonic()
    if wanted["rate"]:
        await open_loop(client, wanted["rate"], wanted["seconds"], wanted.get("seed", 1))
    else:
        await closed_loop(client, wanted["connections"], wanted["seconds"])
    took_s = max(wanted["seconds"], time.monotonic() - began_s - wanted["deadline_s"])
    seen, latencies = client.seen, sorted(client.seen.latencies) or [0.0]
    return {
        "offered_per_s": seen.offered / took_s,
        "in_time_per_s": seen.in_time / took_s,
        "refused": seen.refused,
        "given_up": seen.given_up,
        "p50_s": latencies[len(latencies) // 2],
        "p99_s": latencies[int(0.99 * len(latencies))],
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(play(json.load(sys.stdin)))))
