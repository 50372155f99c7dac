"""Frames over a real MQTT broker."""

from __future__ import annotations

import asyncio
import random
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protocol.chunks import Chunk, encode_chunk
from protocol.errors import Code
from protocol.messages import Refusal, Result, Tensor
from tests.transport.broker import GROUP, Mosquitto, calling_over, mosquitto, needs_mosquitto, plain, working
from tests.transport.callers import Caller, echo, frame
from transport.events import Answered, Lost, Probed, Refused, Welcomed
from transport.mqtt_connection import Connection
from transport.mqtt_stream import PART
from transport.stream import Request

pytestmark = needs_mosquitto
ROOT = f"isthmus/v1/{GROUP}"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path) as running:
        yield running


async def back(request: Request) -> Result:
    """The payload as the one output."""
    payload = request.frame.payload
    return Result(request.frame.id, (Tensor("echo", "uint8", (len(payload),), payload),), "edge")


async def answers(caller: Caller, count: int) -> dict[int, bytes]:
    found = {}
    for _ in range(count):
        result: Result = (await caller.expect(Answered)).result
        found[result.id] = result.outputs[0].data if result.outputs else b""
    return found


async def test_frames_go_up_and_their_answers_come_down(broker: Mosquitto) -> None:
    async with working(back, broker.broker), calling_over(broker.dial) as caller:
        welcome = (await caller.expect(Welcomed)).welcome
        assert (welcome.tier, welcome.credits) == ("edge", 32)
        sent = {number: bytes([number]) * number * 50 for number in range(1, 33)}
        for number, payload in sent.items():
            caller.client.send(frame(number, payload))
        assert await answers(caller, len(sent)) == sent
        assert caller.client.credits_left == 32
        caller.client.probe(5)
        assert (await caller.expect(Probed)).probe.id == 5


async def test_the_workers_of_a_group_share_its_frames(broker: Mosquitto) -> None:
    taken: Counter[str] = Counter()

    def named(name: str) -> Any:
        async def handler(request: Request) -> Result:
            taken[name] += 1
            assert request.sender == "tester"
            return await back(request)

        return handler

    async with (
        working(named("one"), broker.broker, "one"),
        working(named("two"), broker.broker, "two"),
        calling_over(broker.dial) as caller,
    ):
        await caller.expect(Welcomed)
        for number in range(1, 31):
            caller.client.send(frame(number))
        await answers(caller, 30)
    assert taken["one"] + taken["two"] == 30
    assert min(taken.values()) > 0


async def test_a_caller_without_worker_waits_for_one_and_knows_when_it_left(broker: Mosquitto) -> None:
    async with calling_over(broker.dial) as caller:
        async with working(echo, broker.broker) as worker:
            await caller.expect(Welcomed)
            caller.client.send(frame(1))
            await answers(caller, 1)
            assert await worker.drain(5.0) == 0
            lost = await caller.expect(Lost)
            assert lost.frames == ()
            assert "worker-1 has gone" in lost.reason
        async with working(echo, broker.broker, "worker-2"):
            await caller.expect(Welcomed)
            caller.client.send(frame(2))
            await answers(caller, 1)


async def test_a_worker_that_drains_answers_what_it_has(broker: Mosquitto) -> None:
    started, gate = asyncio.Event(), asyncio.Event()

    async def gated(request: Request) -> Result:
        started.set()
        await gate.wait()
        return await back(request)

    async with working(gated, broker.broker) as worker, calling_over(broker.dial) as caller:
        await caller.expect(Welcomed)
        caller.client.send(frame(1))
        await started.wait()
        draining = asyncio.create_task(worker.drain(20.0))
        await asyncio.sleep(0)
        gate.set()
        await answers(caller, 1)
        assert await draining == 0


def cut(connection: Any) -> None:
    """End a connection as a cable would: without a goodbye."""
    connection._paho.socket().shutdown(socket.SHUT_RDWR)


async def test_the_last_will_tells_of_a_dead_worker(broker: Mosquitto) -> None:
    async def never(request: Request) -> Result:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    started = asyncio.Event()
    async with working(never, broker.broker) as worker, calling_over(broker.dial) as caller:
        await caller.expect(Welcomed)
        caller.client.send(frame(1))
        await started.wait()
        cut(worker._connection)
        assert (await caller.expect(Lost)).frames == (1,)
        await caller.expect(Welcomed)  # the worker came back


async def test_another_workers_death_is_a_loss_only_for_those_with_frames_out(broker: Mosquitto) -> None:
    async with working(echo, broker.broker, "one"), calling_over(broker.dial) as caller:
        await caller.expect(Welcomed)
        async with working(echo, broker.broker, "two") as other:
            cut(other._connection)
            await other.stop()
            await gone(broker, "two")
        caller.client.probe(5)  # comes back behind the news of the death
        await caller.expect(Probed)
        caller.client.send(frame(1))
        await answers(caller, 1)
        assert caller.nothing_waits()


async def gone(broker: Mosquitto, worker: str) -> None:
    """Return when the broker tells of a worker that it is gone."""
    async with plain(broker) as watcher, asyncio.timeout(20):
        await watcher.subscribe(f"{ROOT}/workers/{worker}")
        async for message in watcher.messages:
            if message.payload[:1] == b"\x1a":
                return


async def test_a_worker_that_stops_in_a_hurry_is_gone_too(broker: Mosquitto) -> None:
    async with working(echo, broker.broker, "one"):
        pass
    await gone(broker, "one")


async def test_a_caller_is_present_while_it_is_connected(broker: Mosquitto) -> None:
    async with plain(broker) as watcher:
        await watcher.subscribe(f"{ROOT}/callers/+")
        seen = aiter(watcher.messages)
        async with working(echo, broker.broker) as worker:
            async with calling_over(broker.dial, "camera-1") as caller:
                await caller.expect(Welcomed)
                caller.client.send(frame(1))
                await answers(caller, 1)
                assert len(worker._pipes) == 1
                hello = await anext(seen)
                assert str(hello.topic) == f"{ROOT}/callers/camera-1"
                assert b"camera-1" in hello.payload
            assert (await anext(seen)).payload == b""
            async with asyncio.timeout(20):
                while worker._pipes:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)


async def test_frames_carry_their_deadline_as_the_messages_expiry(broker: Mosquitto) -> None:
    async with (
        plain(broker) as watcher,
        working(echo, broker.broker),
        calling_over(broker.dial) as caller,
    ):
        await watcher.subscribe(f"{ROOT}/frames/+")
        await caller.expect(Welcomed)
        seen = aiter(watcher.messages)
        for number, remaining_us, expiry_s in ((1, 200_000, 1), (2, 2_500_000, 3), (3, 30_000_000, 30)):
            caller.client.send(frame(number, remaining_us=remaining_us))
            properties: Any = (await anext(seen)).properties
            assert properties.MessageExpiryInterval == expiry_s


async def test_no_more_frames_reach_a_worker_than_it_asked_for(broker: Mosquitto) -> None:
    here = most = 0
    full, gate = asyncio.Event(), asyncio.Event()

    async def gated(request: Request) -> Result:
        nonlocal here, most
        here += 1
        most = max(most, here)
        if here == 2:
            full.set()
        await gate.wait()
        here -= 1
        return await back(request)

    async with (
        working(gated, broker.broker, credits=2),
        calling_over(broker.dial, "a") as first,
        calling_over(broker.dial, "b") as second,
        calling_over(broker.dial, "c") as third,
    ):
        for caller in (first, second, third):
            await caller.expect(Welcomed)
            for number in (1, 2):
                caller.client.send(frame(number))
        await full.wait()
        gate.set()
        for caller in (first, second, third):
            await answers(caller, 2)
    assert most == 2


async def test_long_frames_are_cut_to_what_the_broker_takes(tmp_path: Path) -> None:
    with mosquitto(tmp_path, "max_packet_size 20000") as broker:

        async def lengths(request: Request) -> Result:
            length = len(request.frame.payload).to_bytes(8, "little")
            return Result(request.frame.id, (Tensor("length", "int64", (), length),), "edge")

        async with working(lengths, broker.broker), calling_over(broker.dial) as caller:
            await caller.expect(Welcomed)
            for number, size in ((1, 200_000), (2, 19_000), (3, 100)):
                caller.client.send(frame(number, bytes(size)))
            sizes = {number: int.from_bytes(data, "little") for number, data in (await answers(caller, 3)).items()}
            assert sizes == {1: 200_000, 2: 19_000, 3: 100}


async def test_answers_longer_than_the_broker_takes_come_in_parts(tmp_path: Path) -> None:
    with mosquitto(tmp_path, "max_packet_size 20000") as broker:
        sent = {number: random.Random(number).randbytes(size) for number, size in ((1, 150_000), (2, 90_000), (3, 9))}
        async with working(back, broker.broker), calling_over(broker.dial) as caller:
            await caller.expect(Welcomed)
            for number, payload in sent.items():
                caller.client.send(frame(number, payload))
            assert await answers(caller, len(sent)) == sent
            assert caller.client.credits_left == 32


async def test_a_caller_from_before_parts_is_refused_what_is_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = Connection.publish

    def as_before(connection: Connection, *arguments: Any, **options: Any) -> None:
        publish(connection, *arguments, **options | {"takes_parts": False})

    monkeypatch.setattr(Connection, "publish", as_before)
    with mosquitto(tmp_path, "max_packet_size 20000") as broker:
        async with working(back, broker.broker), calling_over(broker.dial) as caller:
            await caller.expect(Welcomed)
            caller.client.send(frame(9, bytes(50_000)))
            refusal: Refusal = (await caller.expect(Refused)).refusal
            assert (refusal.id, refusal.code) == (9, Code.INTERNAL)
            caller.client.send(frame(10))
            await answers(caller, 1)


@pytest.mark.parametrize("poison", [b"no chunk", encode_chunk(Chunk(1, 100, 50, b"from the middle"))])
async def test_parts_of_an_answer_that_make_no_sense_end_the_stream(broker: Mosquitto, poison: bytes) -> None:
    async def never(request: Request) -> Result:
        begun.set_result(None)
        await asyncio.Event().wait()
        raise AssertionError

    begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    async with working(never, broker.broker) as worker, calling_over(broker.dial) as caller:
        await caller.expect(Welcomed)
        caller.client.send(frame(1))
        await asyncio.wait_for(begun, 20)
        ((_, nonce),) = worker._pipes
        assert worker._connection is not None
        worker._connection.publish(f"{ROOT}/results/tester", poison, correlation=nonce + PART)
        assert (await caller.expect(Lost)).frames == (1,)


async def test_a_message_that_comes_twice_is_one_frame(broker: Mosquitto) -> None:
    runs: Counter[int] = Counter()

    async def count(request: Request) -> Result:
        runs[request.frame.id] += 1
        return await back(request)

    async with (
        plain(broker) as copier,
        working(count, broker.broker),
        calling_over(broker.dial) as caller,
    ):
        await copier.subscribe(f"{ROOT}/frames/+")
        await caller.expect(Welcomed)
        caller.client.send(frame(1))
        await answers(caller, 1)
        message = await anext(aiter(copier.messages))
        for _ in range(3):
            await copier.publish(str(message.topic), message.payload, qos=1, properties=_copied(message.properties))
        caller.client.send(frame(2))
        await answers(caller, 1)
        assert runs == {1: 1, 2: 1}
        assert caller.nothing_waits()


def _copied(properties: Any) -> Any:
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    copy: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    copy.CorrelationData = properties.CorrelationData
    return copy


async def test_a_cancelled_frame_stops_wherever_it_is(broker: Mosquitto) -> None:
    started, stopped = asyncio.Event(), asyncio.Event()

    async def never(request: Request) -> Result:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        raise AssertionError

    async with working(never, broker.broker), calling_over(broker.dial) as caller:
        await caller.expect(Welcomed)
        caller.client.send(frame(1))
        await started.wait()
        assert caller.client.cancel(1) is False
        assert (await caller.expect(Refused)).refusal.code is Code.EXPIRED
        assert stopped.is_set()


async def test_a_broker_killed_and_started_again_is_used_again(broker: Mosquitto) -> None:
    async with working(echo, broker.broker), calling_over(broker.dial) as caller:
        await caller.expect(Welcomed)
        caller.client.send(frame(1))
        await answers(caller, 1)
        broker.kill()
        assert (await caller.expect(Lost)).frames == ()
        await asyncio.to_thread(broker.start)
        await caller.expect(Welcomed)
        caller.client.send(frame(2))
        await answers(caller, 1)


async def test_answers_to_an_earlier_stream_of_the_caller_are_not_taken_for_ours(broker: Mosquitto) -> None:
    gate = asyncio.Event()
    started = asyncio.Event()

    async def gated(request: Request) -> Result:
        if request.frame.payload == b"first":
            started.set()
            await gate.wait()
        return await back(request)

    async with working(gated, broker.broker) as worker:
        async with calling_over(broker.dial) as caller:
            await caller.expect(Welcomed)
            caller.client.send(frame(1, b"first"))
            await started.wait()
        for pipe in worker._pipes.values():  # it does not hear that the caller has gone
            pipe.end = lambda: None  # type: ignore[method-assign]
        async with calling_over(broker.dial) as caller:
            await caller.expect(Welcomed)
            gate.set()
            caller.client.send(frame(1, b"second"))
            assert await answers(caller, 1) == {1: b"second"}
            assert caller.nothing_waits()
