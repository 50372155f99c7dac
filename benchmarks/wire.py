"""What the session machinery adds to a bare gRPC stream that echoes the same bytes, between two processes."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc

from benchmarks import wire_ends, wire_overtaking
from benchmarks.figure import Figure
from benchmarks.wire_ends import BARE_DOWN, BARE_METHOD, BARE_UP, CREDITS, DIGEST, GROUP, bare_client
from protocol.messages import Frame, Hello
from protocol.session import tag_of
from transport.client import FrameClient
from transport.events import Answered, ClientEvent, Lost, Refused
from transport.options import channel_options
from transport.settings import Dial

SIZES = (1 << 10, 16 << 10, 128 << 10)
ROUNDS = 15
TRIPS = 60
"""Round trips of one round, one after the other."""
BURST = 200
"""Frames of one round when as many as there are credits may be on the way."""

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
"""Without it there are no figures over MQTT."""
BROKER = "listener {port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 0\nset_tcp_nodelay true\n"

Trip = Callable[[bytes], Awaitable[None]]


def figures() -> Sequence[Figure]:
    """Round trip and sustained rate, against the bare stream in turns; and what chunks do for an urgent frame."""
    wire_ends.allocate_a_picture()
    with far_ends() as ports:
        found = [*asyncio.run(_measured(ports)), *wire_overtaking.figures(ports["frames"])]
    if MOSQUITTO is not None:
        with tempfile.TemporaryDirectory() as folder, broker(Path(folder)) as port, far_ends("mqtt", str(port)):
            found += asyncio.run(_measured_over(port))
    return found


@contextmanager
def far_ends(*options: str) -> Iterator[dict[str, int]]:
    """The ports of a process with the far ends, and its process id as `pid`."""
    command = [sys.executable, "-m", "benchmarks.wire_ends", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline()) | {"pid": process.pid}
        process.communicate()


@contextmanager
def broker(folder: Path) -> Iterator[int]:
    """A mosquitto that lets everyone in; its port."""
    assert MOSQUITTO is not None
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    config = folder / "mosquitto.conf"
    config.write_text(BROKER.format(port=port))
    with subprocess.Popen([MOSQUITTO, "-c", str(config)], stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
        yield port
        process.terminate()


async def _measured_over(port: int) -> list[Figure]:
    """Frames over the broker against bare messages over it, in turns."""
    found = []
    dial = Dial(target=f"127.0.0.1:{port}", group=GROUP)
    async with bare_messages(port) as bare, frame_stream(dial) as frames:
        for size in SIZES:
            payload = bytes(range(256)) * (size // 256)
            ratios = []
            for _ in range(ROUNDS):
                base = await _median_s(bare, payload)
                ratios.append(await _median_s(frames, payload) / base)
            name = f"{size >> 10} KiB over MQTT: round trip"
            found.append(Figure.of_runs(name, ratios, "times", 1.5, "at most", "bare aiomqtt echo"))
    return found


@asynccontextmanager
async def bare_messages(port: int) -> AsyncIterator[Trip]:
    """Publish bytes, wait for as many back."""
    async with bare_client(port) as client:
        await client.subscribe(BARE_DOWN, qos=1)
        messages = aiter(client.messages)

        async def trip(payload: bytes) -> None:
            await client.publish(BARE_UP, payload, qos=1)
            await anext(messages)

        yield trip


async def _measured(ports: dict[str, int]) -> list[Figure]:
    found = []
    near = Dial(target=f"127.0.0.1:{ports['frames']}")
    async with bare_stream(ports["bare"]) as bare, frame_stream(near) as frames:
        for size in SIZES:
            payload = bytes(range(256)) * (size // 256)
            name = f"{size >> 10} KiB"
            ratios, seconds, rates, fps = [], [], [], []
            for _ in range(ROUNDS):
                base, own = await _median_s(bare, payload), await _median_s(frames, payload)
                base_fps, own_fps = await _rate(bare, payload), await _rate(frames, payload)
                ratios.append(own / base)
                seconds.append(own)
                rates.append(own_fps / base_fps)
                fps.append(own_fps)
            found += [
                Figure.of_runs(f"{name}: round trip", ratios, "times", 1.5, "at most", "bare stream echo"),
                Figure.of_runs(f"{name}: round trip takes", seconds, "s"),
                Figure.of_runs(f"{name}: sustained", rates, "times", 0.7, "at least", "bare stream echo"),
                Figure.of_runs(f"{name}: sustained rate", fps, "1/s"),
            ]
    return found


async def _median_s(trip: Trip, payload: bytes) -> float:
    taken = []
    for _ in range(TRIPS):
        began = time.perf_counter()
        await trip(payload)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


async def _rate(trip: Trip, payload: bytes) -> float:
    """Answers in a second with `CREDITS` frames on the way."""
    left = BURST

    async def lane() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await trip(payload)

    began = time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(CREDITS)))
    return BURST / (time.perf_counter() - began)


@asynccontextmanager
async def bare_stream(port: int) -> AsyncIterator[Trip]:
    """Write bytes, wait for as many back; answers come in order."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=channel_options(None)) as channel:
        call: Any = channel.stream_stream(BARE_METHOD)()
        waiting: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()
        turn = asyncio.Lock()

        async def read() -> None:
            while await call.read() is not grpc.aio.EOF:
                waiting.get_nowait().set_result(None)

        async def trip(payload: bytes) -> None:
            back: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            async with turn:
                waiting.put_nowait(back)
                await call.write(payload)
            await back

        async with AsyncExitStack() as opened:
            reader = asyncio.create_task(read())
            opened.callback(reader.cancel)
            yield trip


@asynccontextmanager
async def frame_stream(dial: Dial) -> AsyncIterator[Trip]:
    """Send a frame, wait for its result."""
    waiting: dict[int, asyncio.Future[None]] = {}
    ids = iter(range(1, 1 << 62))

    def learn(event: ClientEvent) -> None:
        match event:
            case Answered(result):
                waiting.pop(result.id).set_result(None)
            case Refused():
                raise AssertionError(event)
            case Lost(frames):
                assert not frames

    async def trip(payload: bytes) -> None:
        frame = Frame.build(
            id=next(ids),
            bundle=tag_of(DIGEST),
            cut=1,
            level=0,
            shape=(len(payload),),
            payload=payload,
            remaining_us=30_000_000,
        )
        back = waiting[frame.id] = asyncio.get_running_loop().create_future()
        client.send(frame)
        await back

    client = FrameClient(dial, Hello("bench", (DIGEST,)), learn)
    client.start()
    async with asyncio.timeout(20):
        await client.until_ready()
    yield trip
    await client.close()
