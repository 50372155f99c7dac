"""Streams that break, and tiers that come back."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protocol.errors import Code
from protocol.messages import Result
from tests.transport.callers import calling, echo, frame, serving
from transport.client import State
from transport.events import Answered, Lost, Refused, Welcomed
from transport.options import SERVICE, ConnectionLimits
from transport.settings import Listen
from transport.stream import Request

TIER = """
import asyncio, sys
from tests.transport.callers import serving, echo
from transport.settings import Listen

async def never(request):
    await asyncio.Event().wait()

async def main(port):
    async with serving(echo if sys.argv[2] == "echo" else never, listen=Listen(port=port)) as server:
        print(server.port, flush=True)
        await asyncio.Event().wait()

asyncio.run(main(int(sys.argv[1])))
"""


@contextmanager
def a_process(port: int, handler: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", TIER, str(port), handler], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert int(process.stdout.readline()) == port
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def test_a_killed_tier_loses_its_frames_by_name_and_is_used_again(reserved_port: int) -> None:
    with a_process(reserved_port, "never") as process:
        async with calling(f"127.0.0.1:{reserved_port}") as caller:
            await caller.expect(Welcomed)
            caller.client.send(frame(3))
            caller.client.send(frame(4))
            caller.client.probe(1)
            await caller.event()  # the probe is back: the frames are there
            process.send_signal(signal.SIGKILL)
            lost = await caller.expect(Lost)
            assert lost.frames == (3, 4)
            assert (caller.client.ready, caller.client.credits_left, caller.client.in_flight) == (False, 0, frozenset())
            process.wait()
            with a_process(reserved_port, "echo"):
                await caller.expect(Welcomed)
                caller.client.send(frame(3))
                assert (await caller.expect(Answered)).result.id == 3


async def test_delays_double_to_a_bound_and_start_anew_after_a_stream(reserved_port: int) -> None:
    slept: list[float] = []
    bound, go_on, anew = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def sleep(delay_s: float) -> None:
        slept.append(round(delay_s, 3))
        if len(slept) == 6:
            bound.set()
            await go_on.wait()
        if len(slept) == 7:
            anew.set()
            await asyncio.Event().wait()

    async with calling(f"127.0.0.1:{reserved_port}", sleep=sleep, random=lambda: 0.0) as caller:
        await bound.wait()
        assert slept == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
        assert caller.client.state is State.CONNECTING
        assert "unavailable" in caller.client.reason
        async with serving(echo, listen=Listen(port=reserved_port)):
            go_on.set()
            await caller.expect(Welcomed)
        await anew.wait()
        assert slept[6] == 0.1


async def test_jitter_shortens_a_delay_by_up_to_half(reserved_port: int) -> None:
    slept: list[float] = []
    done = asyncio.Event()

    async def sleep(delay_s: float) -> None:
        slept.append(delay_s)
        done.set()
        await asyncio.Event().wait()

    async with calling(f"127.0.0.1:{reserved_port}", sleep=sleep, random=lambda: 1.0):
        await done.wait()
        assert slept == [pytest.approx(0.05)]


async def test_closing_reports_what_was_in_flight() -> None:
    async def never(request: Request) -> Result:
        await asyncio.Event().wait()
        raise AssertionError

    async with serving(never) as server, calling(f"127.0.0.1:{server.port}") as caller:
        await caller.expect(Welcomed)
        caller.client.send(frame(1))
        await caller.client.close()
        assert (await caller.expect(Lost)).frames == (1,)
        assert caller.client.state is State.CLOSED


async def test_an_old_stream_ends_politely_and_the_caller_opens_another() -> None:
    limits = ConnectionLimits(age_ms=200)
    async with serving(echo, limits=limits) as server, calling(f"127.0.0.1:{server.port}") as caller:
        for _ in range(2):
            await caller.expect(Welcomed)
            refusal = (await caller.expect(Refused)).refusal
            assert (refusal.id, refusal.code) == (0, Code.DRAINING)
            assert (await caller.expect(Lost)).frames == ()


async def test_health_is_reported_until_the_drain() -> None:
    gate, started = asyncio.Event(), asyncio.Event()

    async def gated(request: Request) -> Result:
        started.set()
        await gate.wait()
        return Result(request.frame.id, (), "edge")

    async with serving(gated) as server, calling(f"127.0.0.1:{server.port}") as caller:
        await caller.expect(Welcomed)
        caller.client.send(frame(1))
        await started.wait()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            health = health_pb2_grpc.HealthStub(channel)
            for service in ("", SERVICE):
                answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
            watch = health.Watch(health_pb2.HealthCheckRequest(service=SERVICE))
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            drain = asyncio.create_task(server.drain(10.0))
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            gate.set()
            await drain
