"""Hostile peers behind one broker: names that escape, spoofed ones, retained poison; and what its rules allow."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from protocol.errors import Code, LocalProtocolError, RemoteProtocolError
from protocol.messages import Cancel, Hello, Probe, Refusal, Result, Welcome, encode_downward, encode_upward
from protocol.packing import pack
from protocol.topics import Topics, checked
from tests.transport.broker import (
    GROUP,
    Mosquitto,
    calling_over,
    guarded,
    mosquitto,
    needs_mosquitto,
    plain,
    working,
)
from tests.transport.callers import DIGEST, Caller, echo, frame
from tests.transport.pki import Pki
from transport.errors import InsecureDial, NameUnusable
from transport.events import Answered, Refused, Welcomed
from transport.mqtt_stream import MqttConnector
from transport.settings import Broker, Dial, Quotas
from transport.stream import Request

ROOT = f"isthmus/v1/{GROUP}"
NONCE = bytes(8)


@pytest.mark.parametrize(
    "name",
    ["", "a/b", "../edge", "#", "+", "a+", "$share", "a b", "a\0b", "\u202eegde", "x" * 65, ".hidden", "-rf", "a\n"],
)
def test_a_name_that_would_leave_its_topic_is_refused(name: str) -> None:
    with pytest.raises(LocalProtocolError):
        checked(name)
    with pytest.raises(LocalProtocolError):
        Topics(name)
    with pytest.raises(NameUnusable):
        MqttConnector(Dial(target="localhost:1883", group=GROUP), name, lambda: 0.0)


@pytest.mark.parametrize(
    "topic",
    [
        "", "/", ROOT, f"{ROOT}/", f"{ROOT}/frames", f"{ROOT}/frames/", f"{ROOT}/frames/a/b", f"{ROOT}x/frames/a",
        f"{ROOT}/to/a", f"{ROOT}/other/a", "isthmus/v1/cloud/frames/a", f"/{ROOT}/frames/a", f"{ROOT}/frames/a b",
        f"{ROOT}/frames/../a", f"x{ROOT}/frames/a", f"{ROOT}/workers/", f"$SYS/{ROOT}/frames/a",
    ],
)  # fmt: skip
def test_a_topic_that_is_none_of_ours_is_refused(topic: str) -> None:
    with pytest.raises(RemoteProtocolError):
        Topics(GROUP).parse(topic)


def test_every_topic_that_is_ours_is_read_as_it_was_written() -> None:
    topics = Topics(GROUP)
    for kind in ("frames", "notes", "results", "callers"):
        assert topics.parse(getattr(topics, kind)("camera-1")) == (kind, "camera-1", "")
    assert topics.parse(topics.to("w_1", "camera-1")) == ("to", "camera-1", "w_1")
    assert topics.parse(topics.workers("w_1")) == ("workers", "", "w_1")


def test_beyond_loopback_a_broker_is_not_called_without_tls() -> None:
    from transport.mqtt_worker import MqttWorker
    from transport.server import Identity

    with pytest.raises(InsecureDial):
        MqttWorker(echo, Broker(target="broker.example:1883"), Identity("edge", lambda: ()), name="w")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path) as running:
        yield running


def carrying(correlation: bytes) -> Any:
    properties: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if correlation:
        properties.CorrelationData = correlation
    return properties


def numbered(number: int) -> bytes:
    return NONCE + number.to_bytes(8, "big")


FRAME = encode_upward(frame(1))
ATTACKS: dict[str, tuple[str, bytes, bytes]] = {
    "no correlation": ("frames/rude", FRAME, b""),
    "a short correlation": ("frames/rude", FRAME, b"x" * 15),
    "a long correlation": ("frames/rude", FRAME, b"x" * 60_000),
    "nothing": ("frames/rude", b"", numbered(1)),
    "noise": ("frames/rude", b"\xff" * 100, numbered(1)),
    "a megabyte of noise": ("frames/rude", b"\x12" * (1 << 20), numbered(1)),
    "a hello": ("frames/rude", encode_upward(Hello("camera-1", (DIGEST,))), numbered(1)),
    "a frame cut short": ("frames/rude", FRAME[:-3], numbered(1)),
    "a pack that lies": ("frames/rude", b"\x2a\x7f\x0a", numbered(1)),
    "a pack of hellos": ("frames/rude", pack([encode_upward(Hello("a"))] * 9), numbered(1)),
    "a chunk from the middle": ("to/worker-1/rude", b"\x32\x09\x08\x01\x10\x09\x18\x05\x2a\x01x", numbered(1)),
    "a result": ("frames/rude", encode_downward(Result(1, (), "edge")), numbered(1)),
    "the largest number": ("frames/rude", FRAME, NONCE + b"\xff" * 8),
    "number zero": ("frames/rude", FRAME, NONCE + bytes(8)),
    "a name that cannot be": ("frames/a b", FRAME, numbered(1)),
    "a topic too deep": ("frames/a/b", FRAME, numbered(1)),
    "a cancel of nothing": ("notes/rude", encode_upward(Cancel(9)), numbered(1)),
    "a caller's presence that is noise": ("callers/rude", b"\xff" * 30, b""),
    "a caller's presence that ends": ("callers/rude", b"", b""),
    "a frame meant for a stranger's eyes": ("to/worker-2/rude", FRAME, numbered(1)),
}


@needs_mosquitto
async def test_whatever_comes_over_the_broker_good_callers_are_still_answered(broker: Mosquitto) -> None:
    async with working(echo, broker.broker), plain(broker) as rude, calling_over(broker.dial, "good") as good:
        await good.expect(Welcomed)
        for number, (name, (topic, payload, correlation)) in enumerate(ATTACKS.items(), 1):
            await rude.publish(f"{ROOT}/{topic}", payload, qos=1, properties=carrying(correlation))
            good.client.send(frame(number))
            answer = await good.event()
            assert isinstance(answer, Answered), (name, answer)
            assert answer.result.id == number, name


@needs_mosquitto
async def test_what_is_left_behind_on_a_topic_is_no_frame_and_no_answer(broker: Mosquitto) -> None:
    seen = []

    async def note(request: Request) -> Result:
        seen.append(request.sender)
        return Result(request.frame.id, (), "edge")

    async with plain(broker) as rude:
        for topic in ("to/worker-1/rude", "notes/rude", "frames/rude"):
            await rude.publish(f"{ROOT}/{topic}", FRAME, 1, retain=True, properties=carrying(numbered(1)))
        answer = encode_downward(Result(1, (), "poison"))
        await rude.publish(f"{ROOT}/results/good", answer, 1, retain=True, properties=carrying(numbered(1)))
    async with working(note, broker.broker), calling_over(broker.dial, "good") as good:
        await good.expect(Welcomed)
        good.client.send(frame(1))
        assert (await good.expect(Answered)).result.answered_by == "edge"
    assert seen == ["good"]


@needs_mosquitto
@pytest.mark.parametrize(
    "poison", [b"\x0a\xff\xff", b"\x0a\x00", b"noise", encode_downward(Welcome("edge", (), 1, version=1))[:-1]]
)
async def test_a_poisoned_welcome_is_survived(broker: Mosquitto, poison: bytes) -> None:
    async with plain(broker) as rude:
        await rude.publish(f"{ROOT}/workers/poison", poison, qos=1, retain=True)
        async with calling_over(broker.dial) as caller:
            if poison[:1] == b"\x0a":
                await caller.attempted()
            await rude.publish(f"{ROOT}/workers/poison", b"", qos=1, retain=True)
            async with working(echo, broker.broker):
                await caller.expect(Welcomed)
                caller.client.send(frame(1))
                await caller.expect(Answered)


@needs_mosquitto
async def test_a_caller_has_its_quota_of_frames_and_streams_over_the_broker_too(broker: Mosquitto) -> None:
    quotas = Quotas(frames_per_s=0.001, burst=2, streams=1)
    async with working(echo, broker.broker, quotas=quotas), calling_over(broker.dial, "greedy") as greedy:
        await greedy.expect(Welcomed)
        for number in (1, 2):
            greedy.client.send(frame(number))
            await greedy.expect(Answered)
        greedy.client.send(frame(3))
        refusal: Refusal = (await greedy.expect(Refused)).refusal
        assert (refusal.id, refusal.code) == (3, Code.OVERLOADED)
        async with plain(broker) as other:  # a second stream under the same name
            await other.subscribe(f"{ROOT}/results/greedy")
            probe = encode_upward(Probe(1))
            await other.publish(f"{ROOT}/frames/greedy", probe, qos=1, properties=carrying(numbered(1)))
            reply = await anext(aiter(other.messages))
            assert b"streams of this caller are open" in reply.payload
        greedy.client.probe(5)
        await greedy.event()


class Guarded:
    """A broker with certificates and rules, and two devices."""

    def __init__(self, broker: Mosquitto, pki: Pki) -> None:
        self.broker, self.pki = broker, pki

    def dial(self, name: str) -> Dial:
        return self.pki.dial(name, self.broker.port).model_copy(update={"group": GROUP})

    @property
    def worker(self) -> Broker:
        dial = self.dial("worker-1")
        return Broker(target=dial.target, tls=dial.tls, group=GROUP)

    @asynccontextmanager
    async def plain(self, name: str) -> AsyncIterator[aiomqtt.Client]:
        """The device's certificate in the hands of someone without manners."""
        context = ssl.create_default_context(cafile=self.pki.folder / "ca.pem")
        context.load_cert_chain(self.pki.folder / f"{name}.pem", self.pki.folder / f"{name}.key")
        async with aiomqtt.Client(
            "127.0.0.1", self.broker.port, protocol=aiomqtt.ProtocolVersion.V5, tls_context=context
        ) as client:
            yield client


@pytest.fixture
def guarded_broker(tmp_path: Path) -> Iterator[Guarded]:
    pki = Pki(tmp_path / "pki")
    for name in ("camera-1", "camera-2", "worker-1"):
        pki.enrol(name)
    lines = guarded(tmp_path, pki, ("camera-1", "camera-2"), {"worker-1": "worker-1"})
    with mosquitto(tmp_path, *lines) as broker:
        yield Guarded(broker, pki)


@needs_mosquitto
async def test_by_the_brokers_rules_a_device_is_itself_and_sees_its_own(guarded_broker: Guarded) -> None:
    seen: list[str] = []

    async def note(request: Request) -> Result:
        seen.append(request.sender)
        return Result(request.frame.id, (), "edge")

    async with (
        working(note, guarded_broker.worker),
        calling_over(guarded_broker.dial("camera-1"), "camera-1") as good,
        guarded_broker.plain("camera-2") as rude,
    ):
        await good.expect(Welcomed)
        await rude.subscribe([("#", 1), (f"{ROOT}/results/#", 1), (f"{ROOT}/frames/+", 1), (f"$share/x/{ROOT}/#", 1)])
        spied: asyncio.Queue[aiomqtt.Message] = asyncio.Queue()

        async def spy() -> None:
            async for message in rude.messages:
                spied.put_nowait(message)

        spying = asyncio.create_task(spy())
        for topic, payload in {
            f"{ROOT}/frames/camera-1": FRAME,
            f"{ROOT}/to/worker-1/camera-1": FRAME,
            f"{ROOT}/notes/camera-1": encode_upward(Cancel(1)),
            f"{ROOT}/results/camera-1": encode_downward(Result(1, (), "spoofed")),
            f"{ROOT}/callers/camera-1": b"",
            f"{ROOT}/workers/worker-1": b"",
            f"{ROOT}/workers/worker-9": encode_downward(Welcome("edge", (DIGEST,), 1)),
        }.items():
            await rude.publish(topic, payload, qos=1, retain=True, properties=carrying(numbered(1)))
        for number in (1, 2):
            good.client.send(frame(number))
            assert (await good.expect(Answered)).result.answered_by == "edge"
        await _own_answer(rude, spied)
        spying.cancel()
    assert seen == ["camera-1", "camera-1", "camera-2"]


async def _own_answer(rude: aiomqtt.Client, spied: asyncio.Queue[aiomqtt.Message]) -> None:
    """Under its own name the device is served, and this answer is the first thing it saw besides workers."""
    await rude.publish(f"{ROOT}/frames/camera-2", FRAME, qos=1, properties=carrying(numbered(2)))
    async with asyncio.timeout(20):
        while str((message := await spied.get()).topic) != f"{ROOT}/results/camera-2":
            assert str(message.topic) == f"{ROOT}/workers/worker-1", message.topic


@needs_mosquitto
async def test_without_a_certificate_nobody_gets_through_to_the_broker(guarded_broker: Guarded) -> None:
    dial = Dial(target=f"127.0.0.1:{guarded_broker.broker.port}", group=GROUP)
    caller = Caller("", dial=dial)
    async with caller.client:
        assert "broker" in await caller.attempted()
