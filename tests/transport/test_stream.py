"""Frames and their answers over a real socket."""

from __future__ import annotations

import asyncio
import time

import pytest

from protocol.errors import Code, LocalProtocolError
from protocol.messages import Load, Probe, Refusal, Result, Tensor, encode_upward
from tests.transport.callers import DIGEST, calling, echo, frame, serving
from transport.client import FRAMING_BYTES, State
from transport.errors import NotReady
from transport.events import Answered, Lost, Probed, Refused, Welcomed
from transport.stream import Request


async def test_a_frame_gets_its_answer_and_the_welcome_names_the_tier() -> None:
    async with serving(echo, credits=3) as server, calling(f"127.0.0.1:{server.port}") as caller:
        ready = await caller.expect(Welcomed)
        assert (ready.welcome.tier, ready.welcome.bundles, ready.welcome.credits) == ("edge", (DIGEST,), 3)
        caller.client.send(frame(7))
        assert (await caller.expect(Answered)).result.id == 7
        assert caller.client.credits_left == 3


async def test_send_returns_the_bytes_of_the_message_and_its_framing() -> None:
    async with serving(echo) as server, calling(f"127.0.0.1:{server.port}") as caller:
        await caller.expect(Welcomed)
        sent = frame(7, b"x" * 1000)
        assert caller.client.send(sent) == len(encode_upward(sent)) + FRAMING_BYTES


async def test_answers_come_in_the_order_of_completion() -> None:
    gates = {1: asyncio.Event(), 2: asyncio.Event()}

    async def gated(request: Request) -> Result:
        await gates[request.frame.id].wait()
        return Result(request.frame.id, (), "edge")

    async with serving(gated) as server, calling(f"127.0.0.1:{server.port}") as caller:
        await caller.expect(Welcomed)
        caller.client.send(frame(1))
        caller.client.send(frame(2))
        assert caller.client.in_flight == {1, 2}
        gates[2].set()
        assert (await caller.expect(Answered)).result.id == 2
        gates[1].set()
        assert (await caller.expect(Answered)).result.id == 1


async def test_a_burst_of_small_and_long_frames_is_answered_whole_each_once() -> None:
    async def back(request: Request) -> Result:
        payload = request.frame.payload
        return Result(request.frame.id, (Tensor("back", "uint8", (len(payload),), payload),), "edge")

    sizes = [(number * 7919) % 90_000 for number in range(1, 61)]
    async with serving(back, credits=64) as server, calling(f"127.0.0.1:{server.port}") as caller:
        await caller.expect(Welcomed)
        for number, size in enumerate(sizes, 1):
            caller.client.send(frame(number, bytes([number]) * size))
        results = [(await caller.expect(Answered)).result for _ in sizes]
    assert sorted(result.id for result in results) == list(range(1, 61))
    for result in results:
        assert result.outputs[0].data == bytes([result.id]) * sizes[result.id - 1]


async def test_no_more_frames_than_credits_and_no_id_twice() -> None:
    gate = asyncio.Event()

    async def gated(request: Request) -> Result:
        await gate.wait()
        return Result(request.frame.id, (), "edge")

    async with serving(gated, credits=2) as server, calling(f"127.0.0.1:{server.port}") as caller:
        with pytest.raises(NotReady, match="not connected"):
            caller.client.send(frame(1))
        await caller.expect(Welcomed)
        caller.client.send(frame(1))
        with pytest.raises(LocalProtocolError, match="in flight"):
            caller.client.send(frame(1))
        caller.client.send(frame(2))
        with pytest.raises(NotReady, match="credit"):
            caller.client.send(frame(3))
        gate.set()
        await caller.expect(Answered)
        caller.client.send(frame(3))


async def test_a_payload_beyond_the_limits_is_refused_where_it_is_sent() -> None:
    async with serving(echo) as server, calling(f"127.0.0.1:{server.port}") as caller:
        await caller.expect(Welcomed)
        with pytest.raises(LocalProtocolError):
            caller.client.send(frame(1, bytes(9 << 20)))
        caller.client.send(frame(2))
        assert (await caller.expect(Answered)).result.id == 2


@pytest.mark.parametrize("remaining_us", [0, 20_000])
async def test_a_frame_whose_time_has_passed_is_refused_as_expired(remaining_us: int) -> None:
    async def never(request: Request) -> Result:
        await asyncio.Event().wait()
        raise AssertionError

    load = Load(3, 4_000)
    async with serving(never, load=lambda: load) as server, calling(f"127.0.0.1:{server.port}") as caller:
        await caller.expect(Welcomed)
        caller.client.send(frame(1, remaining_us=remaining_us))
        refusal = (await caller.expect(Refused)).refusal
        assert (refusal.id, refusal.code, refusal.load) == (1, Code.EXPIRED, load)


async def test_each_frame_expires_at_its_own_time() -> None:
    gate = asyncio.Event()

    async def gated(request: Request) -> Result:
        await gate.wait()
        return Result(request.frame.id, (), "edge")

    async with serving(gated) as server, calling(f"127.0.0.1:{server.port}") as caller:
        await caller.expect(Welcomed)
        for number, remaining_us in ((1, 30_000_000), (2, 80_000), (3, 20_000), (4, 60_000_000), (5, 40_000)):
            caller.client.send(frame(number, remaining_us=remaining_us))
        expired = [(await caller.expect(Refused)).refusal for _ in range(3)]  # in any order on a busy machine
        assert {(refusal.id, refusal.code) for refusal in expired} == {(n, Code.EXPIRED) for n in (2, 3, 5)}
        gate.set()
        assert {(await caller.expect(Answered)).result.id for _ in range(2)} == {1, 4}


@pytest.mark.parametrize("apart_s", [-3600, 0, 3600])
async def test_clocks_that_are_an_hour_apart_change_nothing(apart_s: int) -> None:
    arrived = []

    async def note(request: Request) -> Result:
        arrived.append(request.arrived_s)
        if request.frame.id == 2:
            await asyncio.Event().wait()
        return Result(request.frame.id, (), "edge")

    def clock() -> float:
        return time.monotonic() + apart_s

    captured_us = int((time.time() - apart_s) * 1e6)
    async with serving(note, clock=clock) as server, calling(f"127.0.0.1:{server.port}") as caller:
        await caller.expect(Welcomed)
        caller.client.send(frame(1, captured_us=captured_us))
        await caller.expect(Answered)
        caller.client.send(frame(2, remaining_us=50_000, captured_us=captured_us))
        assert (await caller.expect(Refused)).refusal.code is Code.EXPIRED
    assert len(arrived) == 2


async def test_cancel_stops_the_handler_and_ends_the_frame() -> None:
    started, stopped = asyncio.Event(), asyncio.Event()

    async def never(request: Request) -> Result:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        raise AssertionError

    async with serving(never) as server, calling(f"127.0.0.1:{server.port}") as caller:
        await caller.expect(Welcomed)
        caller.client.send(frame(1))
        await started.wait()
        assert caller.client.cancel(1) is False
        assert (await caller.expect(Refused)).refusal.code is Code.EXPIRED
        assert stopped.is_set()
        assert caller.client.in_flight == frozenset()


async def test_a_frame_that_has_not_left_is_withdrawn_without_a_trace() -> None:
    async with serving(echo) as server, calling(f"127.0.0.1:{server.port}") as caller:
        await caller.expect(Welcomed)
        credits = caller.client.credits_left
        caller.client.send(frame(1))
        assert caller.client.cancel(1) is True
        assert caller.client.credits_left == credits
        caller.client.send(frame(2))
        assert (await caller.expect(Answered)).result.id == 2
        assert caller.nothing_waits()


async def test_a_handler_that_fails_costs_one_frame_only() -> None:
    async def faulty(request: Request) -> Result:
        if request.frame.id == 1:
            raise ZeroDivisionError
        return Result(request.frame.id, (), "edge")

    async with serving(faulty) as server, calling(f"127.0.0.1:{server.port}") as caller:
        await caller.expect(Welcomed)
        caller.client.send(frame(1))
        refusal = (await caller.expect(Refused)).refusal
        assert (refusal.id, refusal.code) == (1, Code.INTERNAL)
        assert "Zero" not in refusal.detail
        caller.client.send(frame(2))
        assert (await caller.expect(Answered)).result.id == 2


async def test_a_probe_comes_back() -> None:
    async with serving(echo) as server, calling(f"127.0.0.1:{server.port}") as caller:
        await caller.expect(Welcomed)
        assert caller.client.probe(9) == len(encode_upward(Probe(9))) + 14
        assert (await caller.expect(Probed)).probe.id == 9


async def test_a_probe_is_as_long_as_it_shall_be_and_its_echo_short() -> None:
    async with serving(echo) as server, calling(f"127.0.0.1:{server.port}") as caller:
        await caller.expect(Welcomed)
        for number, size in enumerate((0, 70, 1750, 4000), 1):
            assert caller.client.probe(number, size) == pytest.approx(max(size, 20), abs=6)
            assert (await caller.expect(Probed)).probe == Probe(number)
        assert 4096 < caller.client.probe(9, 1 << 20) < 4200
        assert (await caller.expect(Probed)).probe == Probe(9)


async def test_drain_finishes_what_was_accepted_and_refuses_what_comes() -> None:
    gate, started = asyncio.Event(), asyncio.Event()

    async def gated(request: Request) -> Result:
        started.set()
        await gate.wait()
        return Result(request.frame.id, (), "edge")

    async with serving(gated) as server, calling(f"127.0.0.1:{server.port}") as caller:
        await caller.expect(Welcomed)
        caller.client.send(frame(1))
        await started.wait()
        drain = asyncio.create_task(server.drain(30.0))
        await asyncio.sleep(0)
        caller.client.send(frame(2))
        refusal = (await caller.expect(Refused)).refusal
        assert (refusal.id, refusal.code) == (2, Code.DRAINING)
        gate.set()
        assert (await caller.expect(Answered)).result.id == 1
        assert (await caller.expect(Refused)).refusal == Refusal(
            0, Code.DRAINING, "this stream has ended here; open another"
        )
        lost = await caller.expect(Lost)
        assert lost.frames == ()
        assert caller.client.state is State.REFUSED
        assert await drain == 0


async def test_drain_cuts_what_is_not_done_in_time() -> None:
    started = asyncio.Event()

    async def never(request: Request) -> Result:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with serving(never) as server, calling(f"127.0.0.1:{server.port}") as caller:
        await caller.expect(Welcomed)
        caller.client.send(frame(1))
        await started.wait()
        assert await server.drain(0.05) == 1
        assert (await caller.expect(Lost)).frames == (1,)
