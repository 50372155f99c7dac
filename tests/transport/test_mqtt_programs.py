"""Device, edge and cloud with nothing but an MQTT broker between them, as programs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from device.program import run
from device.settings import load
from tests.device.conftest import assert_each_ended_once
from tests.device.processes import Program
from tests.runtime.tiny_bundle import TinyBundle
from tests.transport.broker import Mosquitto, mosquitto, needs_mosquitto

pytestmark = needs_mosquitto


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path) as running:
        yield running


@asynccontextmanager
async def tier(kind: str, bundle: Path, broker: Mosquitto, *more: str) -> AsyncIterator[Program]:
    target = f"127.0.0.1:{broker.port}"
    settings = [f'bundles=["{bundle}"]', "listen.port=0", f"broker.target={target}", f"broker.group={kind}", *more]
    program = await Program.start("-m", kind, *settings)
    try:
        await program.line()
        yield program
    finally:
        await program.kill()


class Device:
    """A device that reaches its tiers over a broker."""

    def __init__(self, folder: Path, bundle: TinyBundle, broker: Mosquitto) -> None:
        self._history = folder / "history.jsonl"
        pictures = folder / "pictures"
        pictures.mkdir()
        for number, item in enumerate(bundle.items):
            Image.fromarray(item[0]).save(pictures / f"{number}.png")
        self._base = {
            "name": "camera-1", "bundle": str(bundle.path), "measure_s": 0.05, "deadline_s": 10.0,
            "source.path": str(pictures), "source.keep": "all", "history.path": str(self._history),
            "edge.target": f"127.0.0.1:{broker.port}", "edge.group": "edge", "edge.passes_on": True,
        }  # fmt: skip

    async def run(self, stop: asyncio.Event | None = None, **changes: object) -> list[dict[str, Any]]:
        keys = {key.replace("__", "."): value for key, value in changes.items()}
        await run(load(None, self._base | keys), stop=stop or asyncio.Event())
        return self.lines()

    def lines(self) -> list[dict[str, Any]]:
        if not self._history.exists():
            return []
        return [json.loads(line) for line in self._history.read_text().splitlines(True) if line.endswith("\n")]


@pytest.fixture
def device(tmp_path: Path, tiny_bundle: TinyBundle, broker: Mosquitto) -> Device:
    return Device(tmp_path, tiny_bundle, broker)


async def test_frames_pass_from_the_device_through_the_edge_to_the_cloud(
    device: Device, tiny_bundle: TinyBundle, broker: Mosquitto
) -> None:
    above = (f"cloud.target=127.0.0.1:{broker.port}", "cloud.group=cloud")
    async with tier("cloud", tiny_bundle.path, broker), tier("edge", tiny_bundle.path, broker, *above):
        by: list[str] = []
        async with asyncio.timeout(60):
            while "cloud" not in by:  # the edge may need a moment to find the cloud
                lines = await device.run(
                    source__limit=8, source__rate_hz=50.0, policy__name="fixed", policy__cut=1, policy__level=4,
                    policy__route="edge_to_cloud", policy__handover=[2, 4],
                )  # fmt: skip
                assert_each_ended_once(lines, 8)
                by = [line["by"] for line in lines if line["ended"] == "answered"]
        assert set(by) <= {"edge", "cloud"}


@pytest.mark.long
async def test_an_edge_killed_behind_the_broker_loses_no_frame_and_is_used_again(
    device: Device, tiny_bundle: TinyBundle, broker: Mosquitto
) -> None:
    stop = asyncio.Event()
    running: asyncio.Task[list[dict[str, Any]]] | None = None
    fixed = {"policy__name": "fixed", "policy__cut": 1, "policy__level": 4, "policy__route": "edge"}
    try:
        async with tier("edge", tiny_bundle.path, broker) as edge:
            running = asyncio.create_task(device.run(stop=stop, source__keep="latest", **fixed))
            await until(device, running, "answered", 5)
            await edge.kill()
            await until(device, running, "dropped", 3)
        async with tier("edge", tiny_bundle.path, broker):
            before = sum(line["ended"] == "answered" for line in device.lines())
            await until(device, running, "answered", before + 3)
    finally:
        stop.set()
        lines = await running if running is not None else []
    assert_each_ended_once(lines)
    assert {line["by"] for line in lines if line["ended"] == "answered"} == {"edge"}


async def until(device: Device, running: asyncio.Task[Any], ended: str, count: int) -> None:
    """Wait until so many frames have ended so."""
    async with asyncio.timeout(60):
        while sum(line["ended"] == ended for line in device.lines()) < count:
            assert not running.done(), running
            await asyncio.sleep(0.02)
