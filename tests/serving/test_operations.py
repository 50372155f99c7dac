"""What operators see of a running tier: health, figures, explanations, and its log."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families

from protocol.messages import Frame, Refusal, Result
from runtime.bundle import Bundle
from runtime.engines.onnxruntime import OnnxRuntimeEngine
from serving.errors import OperationsUnusable
from serving.logs import JsonLines, traced
from serving.metrics import Metrics
from serving.operations import Operations
from serving.tier import Tier
from tests.runtime.tiny_bundle import TinyBundle
from tests.serving.processes import a_program
from tests.serving.tiers import a_device
from transport.stream import Request


@asynccontextmanager
async def observed(path: Path) -> AsyncIterator[tuple[Tier, Operations, asyncio.Event]]:
    """A tier without a stream, its operators' port, and an event that makes it unready."""
    metrics, stopping = Metrics(time.monotonic), asyncio.Event()
    with Bundle.open(path) as bundle:
        tier = Tier("edge", [bundle], OnnxRuntimeEngine(), upstream=None, clock=time.monotonic, observe=metrics)
        metrics.watch(tier)
        operations = Operations(
            0, ready=lambda: not stopping.is_set(), explain=tier.explained, registry=metrics.registry
        )
        await tier.start()
        await operations.start()
        try:
            yield tier, operations, stopping
        finally:
            await operations.stop()
            await tier.stop()


async def got(operations: Operations, path: str) -> tuple[int, str]:
    async with (
        ClientSession() as session,
        session.get(f"http://127.0.0.1:{operations.port}{path}") as response,
    ):
        return response.status, await response.text()


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_the_figures_count_every_frame_by_how_it_ended_and_name_no_device(tiny_bundle: TinyBundle) -> None:
    async with observed(tiny_bundle.path) as (tier, operations, _):
        with Bundle.open(tiny_bundle.path) as bundle:
            tag, cut = bundle.tag, bundle.manifest.cuts[2]
        raw = [level.codec for level in cut.levels].index("raw")
        good = Frame.build(
            id=1, bundle=tag, cut=2, level=raw, shape=cut.tensor.shape, payload=bytes(cut.tensor.nbytes),
            remaining_us=60_000_000,
        )  # fmt: skip
        bad = replace(good, payload=good.payload[:-1])
        for frame in (good, good, bad):
            answer = await tier(Request(frame, "secret-device-name", time.monotonic()))
            assert isinstance(answer, Refusal if frame is bad else Result)
        status, text = await got(operations, "/metrics")
        found = samples(text)
        assert status == 200
        assert found["isthmus_frames_total", (("answered_by", "edge"), ("cut", "2"), ("outcome", "answered"))] == 2
        assert found["isthmus_frames_total", (("answered_by", ""), ("cut", "2"), ("outcome", "undecodable"))] == 1
        assert found["isthmus_frame_seconds_count", (("part", "total"),)] == 2
        assert found["isthmus_frame_seconds_sum", (("part", "run"),)] > 0
        assert found["isthmus_payload_bytes_total", (("cut", "2"),)] == 3 * len(good.payload) - 1
        assert found["isthmus_queued_frames", ()] == 0
        assert found["isthmus_batched_frames_total", (("step", "run segment 2"),)] >= 2
        assert all(name.startswith("isthmus_") for name, _ in found)
        assert "secret-device-name" not in text
        status, text = await got(operations, "/batching")
        told = json.loads(text)
        assert told["taken"] == 2
        assert told["steps"]["run segment 2"]["can_be_batched"]
        assert "secret-device-name" not in text


async def test_a_draining_tier_is_alive_but_not_ready(tiny_bundle: TinyBundle) -> None:
    async with observed(tiny_bundle.path) as (_, operations, stopping):
        assert [(await got(operations, path))[0] for path in ("/healthz", "/readyz")] == [200, 200]
        stopping.set()
        assert [(await got(operations, path))[0] for path in ("/healthz", "/readyz")] == [200, 503]


async def test_a_port_in_use_is_named_with_the_setting() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        registry = Metrics(time.monotonic).registry
        with pytest.raises(OperationsUnusable, match=rf"{port}.*operations\.port"):
            await Operations(port, ready=lambda: True, explain=dict, registry=registry).start()


async def test_the_program_tells_the_port_and_logs_json_lines(tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    arguments = (f'bundles=["{tiny_bundle.path}"]', "listen.port=0", "operations.port=0", "json_logs=true")
    log = tmp_path / "log"
    with a_program("cloud", log, *arguments) as cloud:
        async with a_device(tiny_bundle.path, cloud.dial) as device, ClientSession() as session:
            await device.answer(device.frame(tiny_bundle.items[0], 1))
            async with session.get(f"http://127.0.0.1:{cloud.ready['operations']}/metrics") as response:
                assert 'outcome="answered"} 1.0' in await response.text()
        cloud.process.terminate()
        cloud.process.wait(30)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert any(line["message"].startswith("draining") and line["logger"] == "serving.program" for line in lines)


def test_a_log_line_carries_the_trace_of_its_frame() -> None:
    record = logging.makeLogRecord(
        {"name": "serving.tier", "levelname": "INFO", "msg": "frame %d", "args": (7,)} | traced(bytes(range(24)))
    )
    told = json.loads(JsonLines().format(record))
    assert told["trace"] == "000102030405060708090a0b0c0d0e0f"
    assert (told["message"], told["level"]) == ("frame 7", "info")
    assert "trace" not in json.loads(JsonLines().format(logging.makeLogRecord({"msg": "none"} | traced(b""))))
