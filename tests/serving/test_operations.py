"""What operators see of a running tier: health, figures, explanations, and its log."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientSession
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from protocol.messages import Frame, Load, Refusal, Result
from runtime.bundle import Bundle
from runtime.engines.onnxruntime import OnnxRuntimeEngine
from runtime.logs import JsonLines, traced
from serving.errors import OperationsUnusable
from serving.metrics import Metrics
from serving.operations import Operations
from serving.passage import Passage
from serving.settings import OperationsSettings
from serving.tier import Tier
from tests.runtime.tiny_bundle import TinyBundle
from tests.serving.occupied import occupied
from tests.serving.processes import a_program
from tests.serving.tiers import a_device
from tests.transport.pki import Pki
from transport.errors import InsecureBinding
from transport.stream import Request


@asynccontextmanager
async def observed(path: Path) -> AsyncIterator[tuple[Tier, Operations, asyncio.Event]]:
    """A tier without a stream, its operators' port, and an event that makes it unready."""
    metrics, stopping = Metrics(time.monotonic), asyncio.Event()
    with Bundle.open(path) as bundle:
        tier = Tier("edge", [bundle], OnnxRuntimeEngine(), upstream=None, clock=time.monotonic, observe=metrics)
        metrics.watch(tier)
        operations = Operations(
            OperationsSettings(), ready=lambda: not stopping.is_set(), explain=tier.explained,
            registry=metrics.registry, clock=time.monotonic,
        )  # fmt: skip
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
            digest = bundle.digest
        good = _raw_frame(tiny_bundle)
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
        step = f"run segment 2 of tiny ({digest.hex()[:8]})"
        assert found["isthmus_batched_frames_total", (("step", step),)] >= 2
        assert all(name.startswith("isthmus_") for name, _ in found)
        assert "secret-device-name" not in text
        status, text = await got(operations, "/batching")
        told = json.loads(text)
        assert told["taken"] == 2
        assert told["steps"][step]["can_be_batched"]
        assert "secret-device-name" not in text


async def test_frames_whose_time_is_over_while_they_wait_are_counted_and_withdrawn_ones_are_not(
    tiny_bundle: TinyBundle,
) -> None:
    passed_s = [0.0]

    def clock() -> float:
        return time.monotonic() + passed_s[0]

    metrics, frame = Metrics(clock), _raw_frame(tiny_bundle)
    with Bundle.open(tiny_bundle.path) as bundle:
        tier = Tier("edge", [bundle], OnnxRuntimeEngine(), upstream=None, clock=clock, observe=metrics)
        await tier.start()
        async with occupied(tier.workers):
            expiring, withdrawn = (asyncio.create_task(tier(Request(frame, "device", clock()))) for _ in range(2))
            async with asyncio.timeout(20):
                while tier.workers.queued < 2:  # noqa: ASYNC110 - the scheduler tells nobody
                    await asyncio.sleep(0.001)
            withdrawn.cancel()
            await asyncio.wait([withdrawn])
            passed_s[0] = 3600.0
            expiring.cancel()
            await asyncio.wait([expiring])
        await tier.stop()
    found = samples(generate_latest(metrics.registry).decode())
    frames = {
        dict(labels)["outcome"]: value for (name, labels), value in found.items() if name == "isthmus_frames_total"
    }
    assert frames == {"expired": 1}


def _raw_frame(bundle: TinyBundle) -> Frame:
    """At the last cut, with a minute left."""
    with Bundle.open(bundle.path) as opened:
        tag, cut = opened.tag, opened.manifest.cuts[2]
    raw = [level.codec for level in cut.levels].index("raw")
    return Frame.build(
        id=1, bundle=tag, cut=2, level=raw, shape=cut.tensor.shape, payload=bytes(cut.tensor.nbytes),
        remaining_us=60_000_000,
    )  # fmt: skip


async def test_a_draining_tier_is_alive_but_not_ready(tiny_bundle: TinyBundle) -> None:
    async with observed(tiny_bundle.path) as (_, operations, stopping):
        assert [(await got(operations, path))[0] for path in ("/healthz", "/readyz")] == [200, 200]
        stopping.set()
        assert [(await got(operations, path))[0] for path in ("/healthz", "/readyz")] == [200, 503]


async def test_a_tier_of_which_a_part_has_ended_is_neither_alive_nor_ready() -> None:
    door = Operations(
        OperationsSettings(), alive=lambda: False, ready=lambda: False, explain=dict,
        registry=Metrics(time.monotonic).registry, clock=time.monotonic,
    )  # fmt: skip
    await door.start()
    try:
        assert [(await got(door, path))[0] for path in ("/healthz", "/readyz")] == [503, 503]
    finally:
        await door.stop()


async def test_a_tier_above_cannot_make_labels_and_what_answers_were_worth_is_told_by_model() -> None:
    metrics, frame = Metrics(time.monotonic), Frame.build(id=1, bundle=0, cut=0, level=0, shape=(1,), payload=b"")
    for name in ("cloud", "edge", "x" * 30, "y" * 30):
        metrics(Passage(frame, 0.0, 1e12, 0), Request(frame, "device", 0.0), Result(1, (), name))

    class Told:
        def load(self) -> Load:
            return Load()

        def explained(self) -> dict[str, object]:
            return {"steps": {}, "utility": {"my/model": {"utility": -2.0, "bonuses": 5.0}}}

    metrics.watch(Told())
    found = samples(generate_latest(metrics.registry).decode())
    by = {
        dict(labels)["answered_by"]: value for (name, labels), value in found.items() if name == "isthmus_frames_total"
    }
    assert by == {"cloud": 1, "edge": 1, "other": 2}
    assert found["isthmus_utility", (("model", "my/model"),)] == 3.0


async def test_a_port_in_use_is_named_with_the_setting() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OperationsUnusable, match=rf"{port} on 127.0.0.1.*operations\.port"):
            await a_door(OperationsSettings(port=port)).start()


def a_door(settings: OperationsSettings) -> Operations:
    """Of no tier in particular."""
    registry = Metrics(time.monotonic).registry
    return Operations(settings, ready=lambda: True, explain=dict, registry=registry, clock=time.monotonic)


async def test_beyond_loopback_it_needs_tls() -> None:
    with pytest.raises(InsecureBinding):
        await a_door(OperationsSettings(host="0.0.0.0")).start()


async def test_over_tls_it_is_read_by_those_who_are_named_and_not_revoked(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    for name in ("prometheus", "camera"):
        pki.enrol(name)
    door = a_door(OperationsSettings(tls=pki.listen.tls, readers=("prometheus",)))
    await door.start()

    async def asked_by(name: str | None) -> int:
        shown = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        if name is not None:
            shown.load_cert_chain(tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
        async with ClientSession() as session, session.get(f"https://127.0.0.1:{door.port}/metrics", ssl=shown) as told:
            return told.status

    try:
        assert [await asked_by(name) for name in ("prometheus", "camera")] == [200, 403]
        with pytest.raises(ClientError):
            await asked_by(None)
    finally:
        await door.stop()
    (tmp_path / "revoked").write_text("prometheus\n")
    door = a_door(OperationsSettings(tls=pki.listen.tls))
    await door.start()
    try:
        assert [await asked_by(name) for name in ("prometheus", "camera")] == [403, 200]
    finally:
        await door.stop()


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
