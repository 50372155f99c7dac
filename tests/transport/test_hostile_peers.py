"""One peer's faults stay its own."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import grpc
import pytest

from protocol.errors import Code
from protocol.messages import Cancel, Hello, Probe, Refusal, Result, Tensor, encode_upward
from protocol.packing import pack
from tests.transport.callers import DIGEST, calling, echo, frame, serving
from tests.transport.raw_stream import raw_stream
from transport.events import Answered, Welcomed
from transport.options import STREAM_METHOD, channel_options
from transport.stream import Request

NOT_A_MESSAGE = b"\xff\xff\xff\xff not a message"


@pytest.mark.parametrize(
    "first",
    [NOT_A_MESSAGE, b"", encode_upward(frame(1)), encode_upward(Probe(1)), encode_upward(Cancel(1))],
    ids=["garbage", "empty", "frame", "probe", "cancel"],
)
async def test_a_stream_that_does_not_begin_with_hello_is_refused_and_ended(first: bytes) -> None:
    async with serving(echo) as server, raw_stream(server.port) as stream:
        await stream.write(first)
        refusal = await stream.read()
        assert isinstance(refusal, Refusal)
        assert (refusal.id, refusal.code) == (0, Code.MALFORMED)
        assert await stream.read() is None


async def test_a_version_that_is_not_spoken_is_refused() -> None:
    async with serving(echo) as server, raw_stream(server.port) as stream:
        await stream.write(encode_upward(Hello("old", (DIGEST,), version=0)))
        refusal = await stream.read()
        assert isinstance(refusal, Refusal)
        assert refusal.code is Code.VERSION


async def test_garbage_ends_its_own_stream_and_no_other() -> None:
    async with (
        serving(echo) as server,
        calling(f"127.0.0.1:{server.port}") as caller,
        raw_stream(server.port) as stream,
    ):
        await caller.expect(Welcomed)
        await stream.greet(DIGEST)
        await stream.write(NOT_A_MESSAGE)
        refusal = await stream.read()
        assert isinstance(refusal, Refusal)
        assert (refusal.id, refusal.code) == (0, Code.MALFORMED)
        assert await stream.read() is None
        caller.client.send(frame(1))
        assert (await caller.expect(Answered)).result.id == 1


async def test_more_frames_than_credits_are_refused_one_by_one() -> None:
    gate = asyncio.Event()

    async def gated(request: Request) -> Result:
        await gate.wait()
        return Result(request.frame.id, (), "edge")

    async with serving(gated, credits=2) as server, raw_stream(server.port) as stream:
        await stream.greet(DIGEST)
        for frame_id in (1, 2, 3):
            await stream.write(encode_upward(frame(frame_id)))
        refusal = await stream.read()
        assert isinstance(refusal, Refusal)
        assert (refusal.id, refusal.code) == (3, Code.OVERLOADED)
        gate.set()
        answers = [await stream.read(), await stream.read()]
        assert {answer.id for answer in answers if isinstance(answer, Result)} == {1, 2}


async def test_a_peer_that_does_not_read_is_not_read_from_and_stops_no_other() -> None:
    handled = 0
    answer = (Tensor("block", "uint8", (1 << 20,), bytes(1 << 20)),)

    async def long_winded(request: Request) -> Result:
        nonlocal handled
        handled += 1
        return Result(request.frame.id, answer if request.sender == "rude" else (), "edge")

    credits = 4
    async with (
        serving(long_winded, credits=credits) as server,
        raw_stream(server.port) as stream,
        calling(f"127.0.0.1:{server.port}") as caller,
    ):
        await caller.expect(Welcomed)
        await stream.greet(DIGEST)

        async def flood() -> None:
            for frame_id in range(1, 10_000):
                await stream._call.write(encode_upward(frame(frame_id, bytes(64 << 10))))

        flooding = asyncio.create_task(flood())
        for frame_id in range(1, 51):
            caller.client.send(frame(frame_id))
            assert (await caller.expect(Answered)).result.id == frame_id
        flooding.cancel()
        await asyncio.wait([flooding])
        assert handled - 50 <= credits + 12


async def test_half_closing_still_brings_the_answers() -> None:
    gate = asyncio.Event()

    async def gated(request: Request) -> Result:
        await gate.wait()
        return Result(request.frame.id, (), "edge")

    async with serving(gated) as server, raw_stream(server.port) as stream:
        await stream.greet(DIGEST)
        await stream.write(encode_upward(frame(5)))
        await stream._call.done_writing()
        gate.set()
        result = await stream.read()
        assert isinstance(result, Result)
        assert result.id == 5
        assert await stream.read() is None


async def code_after(call: Any, data: bytes) -> grpc.StatusCode:
    """How a call ends that is given these bytes; whether the write itself notices is a matter of timing."""
    async with asyncio.timeout(20):
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await call.write(data)
        code: grpc.StatusCode = await call.code()
        return code


async def test_compressed_messages_are_refused() -> None:
    async with serving(echo) as server:
        options = channel_options(None)
        options = [option for option in options if option[0] != "grpc.compression_enabled_algorithms_bitset"]
        target = f"127.0.0.1:{server.port}"
        async with grpc.aio.insecure_channel(target, options=options, compression=grpc.Compression.Gzip) as channel:
            call = channel.stream_stream(STREAM_METHOD)()
            code = await code_after(call, encode_upward(Hello("x" * 60, (DIGEST,) * 40)))
            assert code in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INTERNAL)  # whichever end gRPC sees first


async def test_a_message_beyond_the_limit_ends_its_own_stream_and_no_other() -> None:
    async with (
        serving(echo) as server,
        calling(f"127.0.0.1:{server.port}") as caller,
    ):
        await caller.expect(Welcomed)
        options = [option for option in channel_options(None) if option[0] != "grpc.max_send_message_length"]
        target = f"127.0.0.1:{server.port}"
        async with grpc.aio.insecure_channel(
            target, options=[*options, ("grpc.max_send_message_length", 64 << 20)]
        ) as channel:
            call = channel.stream_stream(STREAM_METHOD)()
            await call.write(encode_upward(Hello("rude", (DIGEST,))))
            await call.read()
            assert await code_after(call, bytes(9 << 20)) is grpc.StatusCode.RESOURCE_EXHAUSTED
        caller.client.send(frame(1))
        assert (await caller.expect(Answered)).result.id == 1


async def test_frames_and_cancellations_of_one_pack_take_effect_in_their_order() -> None:
    last = asyncio.Event()

    async def waits_for_the_last(request: Request) -> Result:
        if request.frame.id == 4:
            last.set()
        await last.wait()
        return Result(request.frame.id, (), "edge")

    async with serving(waits_for_the_last) as server, raw_stream(server.port) as stream:
        await stream.greet(DIGEST)
        three = [encode_upward(frame(1)), encode_upward(frame(2)), encode_upward(Cancel(1)), encode_upward(frame(3))]
        await stream.write(pack(three))
        cancelled = await stream.read()
        assert isinstance(cancelled, Refusal)
        assert (cancelled.id, cancelled.code) == (1, Code.EXPIRED)
        await stream.write(encode_upward(frame(4)))  # read while 2 and 3 are worked on
        answers = [await stream.read() for _ in range(3)]
        assert {answer.id for answer in answers if isinstance(answer, Result)} == {2, 3, 4}


async def test_an_id_may_be_used_again_as_soon_as_its_answer_is_there() -> None:
    async with serving(echo) as server, raw_stream(server.port) as stream:
        await stream.greet(DIGEST)
        for _ in range(300):
            await stream.write(encode_upward(frame(1)))
            answer = await stream.read()
            assert isinstance(answer, Result)
