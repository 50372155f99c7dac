"""A device that tells, follows and obeys over a real broker, beside the frames that it answers."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from device.program import run
from device.settings import load
from tests.runtime.tiny_bundle import TinyBundle
from tests.transport.broker import Mosquitto, mosquitto, needs_mosquitto
from transport.mqtt_controller import MqttController, controlling

pytestmark = needs_mosquitto


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path) as running:
        yield running


@asynccontextmanager
async def device(broker: Mosquitto, bundle: TinyBundle) -> AsyncIterator[None]:
    settings = {
        "name": "camera-1", "bundle": str(bundle.path), "measure_s": 0.05, "source.kind": "push",
        "notices.target": f"127.0.0.1:{broker.port}", "notices.tell_s": 0.05,
    }  # fmt: skip
    stop = asyncio.Event()
    running = asyncio.create_task(run(load(None, settings), stop=stop))
    try:
        yield
    finally:
        stop.set()
        await running


async def present(controller: MqttController, name: str) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            if name in controller.capabilities:
                break
            await asyncio.sleep(0.01)
    found: dict[str, Any] = json.loads(controller.capabilities[name])
    return found


async def asked(controller: MqttController, **command: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await controller.command("camera-1", json.dumps(command).encode(), 30))
    return found


async def in_force(controller: MqttController, policy: str) -> None:
    async with asyncio.timeout(60):
        while True:
            if (await asked(controller, command="status"))["policy"] == policy:
                return
            await asyncio.sleep(0.01)


async def test_a_device_says_what_it_is_and_how_takes_plans_and_obeys(
    broker: Mosquitto, tiny_bundle: TinyBundle
) -> None:
    heard: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
    async with controlling(broker.broker, "office", lambda *told: heard.put_nowait(told)) as controller:
        await controller.plan("camera-1", b'{"policy": {"name": "ewma"}}')
        async with device(broker, tiny_bundle):
            assert (await present(controller, "camera-1"))["model_id"] == "tiny"
            await in_force(controller, "ewma")
            async with asyncio.timeout(60):
                while True:
                    caller, told = await heard.get()
                    if json.loads(told)["policy"] == "ewma":
                        break
            assert caller == "camera-1"
            for poison in (b"\xff", b"[]", b'{"policy": 7}', b'{"policy": {"name": "none"}}', b"[" * 60_000):
                await controller.plan("camera-1", poison)
            assert (await asked(controller, command="status"))["policy"] == "ewma"
            await controller.plan("camera-1", b"")
            await in_force(controller, "deadline")
            assert "error" in await asked(controller, command="decision")  # no frame yet
            assert "file of settings" in (await asked(controller, command="reload"))["error"]
            for strange in ({"command": "rm"}, {"command": ["status"]}, {}):
                assert "status" in (await asked(controller, **strange))["error"]


@pytest.mark.slow
async def test_controllers_have_a_command_for_all_of_it(broker: Mosquitto, tiny_bundle: TinyBundle) -> None:
    async def notices(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from isthmus.cli.main import main; main()", "notices", *arguments]
        at = ["--at", f"127.0.0.1:{broker.port}"]
        return await asyncio.to_thread(
            subprocess.run, [*command, *at], capture_output=True, text=True, check=False, timeout=60
        )

    async with controlling(broker.broker, "looks") as looks, device(broker, tiny_bundle):
        await present(looks, "camera-1")
        found = json.loads((await notices("devices", "--json")).stdout)
        assert found["camera-1"]["model_id"] == "tiny"
        assert (await notices("plan", "camera-1", '{"name": "ewma"}')).returncode == 0
        await in_force(looks, "ewma")
        assert json.loads((await notices("command", "camera-1", "status")).stdout)["policy"] == "ewma"
        told = json.loads((await notices("listen", "--messages", "1")).stdout)
        assert told["device"] == "camera-1"
        assert (await notices("plan", "camera-1", "nonsense")).returncode == 2
        assert (await notices("command", "camera-2", "status", "--timeout", "0.1")).returncode == 5
    broker.kill()
    assert (await notices("devices")).returncode == 5
