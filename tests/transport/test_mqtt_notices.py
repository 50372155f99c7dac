"""Capabilities, telemetry, plans and commands over a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from protocol.errors import LocalProtocolError
from tests.transport.broker import GROUP, Mosquitto, guarded, mosquitto, needs_mosquitto, plain
from tests.transport.pki import Pki
from transport.errors import InsecureDial, NameUnusable, Unanswered
from transport.mqtt_controller import MqttController, controlling
from transport.mqtt_notices import NOTICE_BYTES, Command, MqttNotices
from transport.seam import StreamEnded
from transport.settings import Broker

pytestmark = needs_mosquitto
ROOT = f"isthmus/v1/{GROUP}"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path) as running:
        yield running


async def echoed(command: Command) -> bytes:
    return command.controller.encode() + b": " + command.body


class Device:
    """A caller's side whose plans and commands can be awaited."""

    def __init__(self, broker: Broker, name: str, on_command: Any = echoed) -> None:
        self.plans: asyncio.Queue[bytes] = asyncio.Queue()
        self.obeyed: asyncio.Queue[Command] = asyncio.Queue()
        self._on_command = on_command
        self.notices = MqttNotices(
            broker, name, capabilities=lambda: b"what I can", on_plan=self.plans.put_nowait, on_command=self._obey
        )

    async def _obey(self, command: Command) -> bytes:
        self.obeyed.put_nowait(command)
        reply: bytes = await self._on_command(command)
        return reply


@asynccontextmanager
async def device(broker: Broker, name: str = "camera-1", on_command: Any = echoed) -> AsyncIterator[Device]:
    made = Device(broker, name, on_command)
    running = asyncio.create_task(made.notices.run())
    try:
        yield made
    finally:
        running.cancel()
        await asyncio.wait([running])


async def known(controller: MqttController, name: str, body: bytes | None) -> None:
    """Wait until the controller knows these capabilities, or that there are none."""
    async with asyncio.timeout(20):
        while True:
            if controller.capabilities.get(name) == body:
                return
            await asyncio.sleep(0.01)


async def test_capabilities_are_known_to_controllers_that_come_later_until_the_caller_goes(broker: Mosquitto) -> None:
    async with device(broker.broker), controlling(broker.broker, "early") as early:
        await known(early, "camera-1", b"what I can")
        async with controlling(broker.broker, "late") as late:
            assert late.capabilities == {"camera-1": b"what I can"}
    async with controlling(broker.broker, "last") as last:
        assert last.capabilities == {}


async def test_a_plan_waits_for_its_caller_and_can_be_exchanged_and_taken_back(broker: Mosquitto) -> None:
    async with controlling(broker.broker, "control") as controller, asyncio.timeout(20):
        await controller.plan("camera-1", b"first")
        await controller.plan("camera-2", b"not yours")
        async with device(broker.broker) as camera:
            assert await camera.plans.get() == b"first"
            await controller.plan("camera-1", b"second")
            assert await camera.plans.get() == b"second"
            await controller.plan("camera-1", b"")
            assert await camera.plans.get() == b""
            assert camera.plans.empty()


async def test_each_command_gets_its_own_reply_whatever_their_order(broker: Mosquitto) -> None:
    gates = {b"slow": asyncio.Event(), b"fast": asyncio.Event()}

    async def gated(command: Command) -> bytes:
        await gates[command.body].wait()
        return await echoed(command)

    async with (
        device(broker.broker, on_command=gated) as camera,
        controlling(broker.broker, "control") as controller,
        asyncio.timeout(20),
    ):
        await known(controller, "camera-1", b"what I can")
        slow, fast = (asyncio.create_task(controller.command("camera-1", body, 20)) for body in (b"slow", b"fast"))
        assert {(await camera.obeyed.get()).body, (await camera.obeyed.get()).body} == {b"slow", b"fast"}
        gates[b"fast"].set()
        assert await fast == b"control: fast"
        assert not slow.done()
        gates[b"slow"].set()
        assert await slow == b"control: slow"


async def test_a_command_to_nobody_is_unanswered(broker: Mosquitto) -> None:
    async with controlling(broker.broker, "control") as controller:
        with pytest.raises(Unanswered, match="camera-9 did not reply"):
            await controller.command("camera-9", b"anybody?", 0.2)


async def test_telemetry_reaches_every_controller_with_its_callers_name(broker: Mosquitto) -> None:
    heard: asyncio.Queue[tuple[str, str, bytes]] = asyncio.Queue()

    def hears(controller: str) -> Any:
        return lambda caller, body: heard.put_nowait((controller, caller, body))

    async with (
        device(broker.broker) as camera,
        controlling(broker.broker, "one", hears("one")) as one,
        controlling(broker.broker, "two", hears("two")) as two,
        asyncio.timeout(20),
    ):
        for controller in (one, two):
            await known(controller, "camera-1", b"what I can")
        assert camera.notices.tell(b"42 degrees")
        found = {await heard.get(), await heard.get()}
        assert found == {("one", "camera-1", b"42 degrees"), ("two", "camera-1", b"42 degrees")}


async def test_telemetry_without_a_connection_is_dropped(broker: Mosquitto) -> None:
    assert not Device(broker.broker, "camera-1").notices.tell(b"nobody hears")


async def test_a_caller_comes_back_after_the_broker_did(broker: Mosquitto) -> None:
    async with device(broker.broker) as camera:
        async with controlling(broker.broker, "before") as before:
            await known(before, "camera-1", b"what I can")
            broker.kill()
            with pytest.raises(StreamEnded):
                await before.command("camera-1", b"too late", 20)
        broker.start()
        async with controlling(broker.broker, "after") as after:
            await known(after, "camera-1", b"what I can")
            assert await after.command("camera-1", b"still there?", 20) == b"after: still there?"
        assert (await camera.obeyed.get()).body == b"still there?"


def with_correlation(correlation: bytes) -> Properties:
    properties: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.CorrelationData = correlation
    found: Properties = properties
    return found


async def test_a_command_that_comes_twice_is_obeyed_once_and_answered_twice(broker: Mosquitto) -> None:
    async with device(broker.broker) as camera, plain(broker) as client, asyncio.timeout(20):
        async with controlling(broker.broker, "ready") as controller:
            await known(controller, "camera-1", b"what I can")
        await client.subscribe(f"{ROOT}/replies/manual/+", qos=1)
        messages = aiter(client.messages)
        for _ in range(2):
            await client.publish(
                f"{ROOT}/commands/manual/camera-1", b"once", qos=1, properties=with_correlation(b"c" * 16)
            )
            assert (await anext(messages)).payload == b"manual: once"
        assert camera.obeyed.qsize() == 1


async def test_what_was_left_behind_or_cannot_be_answered_or_is_too_long_is_not_obeyed(broker: Mosquitto) -> None:
    topic = f"{ROOT}/commands/manual/camera-1"
    async with plain(broker) as client:
        await client.publish(topic, b"poison", qos=1, retain=True, properties=with_correlation(b"c" * 16))
        async with device(broker.broker) as camera, controlling(broker.broker, "control") as controller:
            await known(controller, "camera-1", b"what I can")
            await client.publish(topic, b"no correlation", qos=1)
            await client.publish(topic, bytes(NOTICE_BYTES + 1), qos=1, properties=with_correlation(b"d" * 16))
            assert await controller.command("camera-1", b"good", 20) == b"control: good"
            assert (await camera.obeyed.get()).body == b"good"
            assert camera.obeyed.empty()


async def test_the_brokers_rules_let_a_caller_answer_and_nobody_command_in_anothers_name(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    for name in ("camera-1", "control", "rival"):
        pki.enrol(name)
    lines = guarded(tmp_path, pki, ("camera-1", "rival"), {}, controllers=("control",))
    with mosquitto(tmp_path, *lines) as guarded_broker:

        def known_as(name: str) -> Broker:
            return Broker(**pki.dial(name, guarded_broker.port).model_dump() | {"group": GROUP})

        async with (
            device(known_as("camera-1")) as camera,
            controlling(known_as("control"), "control") as controller,
        ):
            await known(controller, "camera-1", b"what I can")
            async with controlling(known_as("rival"), "rival") as rival:
                spoofed = f"{ROOT}/commands/control/camera-1"
                rival._connection.publish(spoofed, b"spoofed", correlation=b"c" * 16)
                with pytest.raises(Unanswered):
                    await rival.command("camera-1", b"mine", 0.3)
                assert rival.capabilities == {}
            assert await controller.command("camera-1", b"hello", 20) == b"control: hello"
            assert (await camera.obeyed.get()) == Command("control", b"hello")
            assert camera.obeyed.empty()


def test_names_that_leave_their_topic_and_brokers_in_clear_are_refused() -> None:
    with pytest.raises(NameUnusable):
        Device(Broker(target="127.0.0.1:1883"), "a/b")
    with pytest.raises(InsecureDial):
        Device(Broker(target="broker.example:1883"), "camera-1")


async def test_a_notice_that_is_too_long_is_our_own_mistake(broker: Mosquitto) -> None:
    with pytest.raises(LocalProtocolError, match="65537 bytes"):
        Device(broker.broker, "camera-1").notices.tell(bytes(NOTICE_BYTES + 1))
