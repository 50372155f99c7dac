"""A frame that is followed: its spans join over device, edge and cloud to one trace."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.settings import load
from protocol.messages import Handover
from runtime.errors import SettingsError
from tests.runtime.tiny_bundle import TinyBundle
from tests.serving.processes import a_program
from tests.serving.tiers import a_device, a_tier
from tests.transport.collector import a_collector
from tests.transport.pki import Pki
from transport.errors import ExtraMissing
from transport.settings import CallerTls
from transport.tracing import Silent, Tracer, TraceSettings, tracer_of

pytest.importorskip("opentelemetry.sdk", reason="needs the extra otel")
pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the extra otel")


class Told:
    """Tracers of several programs, and what each has told."""

    def __init__(self) -> None:
        self._tracers: list[Tracer] = []
        self._exporters: dict[str, Any] = {}

    def tracer(self, service: str, share: float = 0.0) -> Tracer:
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        from transport.otel import OpenTelemetry

        exporter = self._exporters[service] = InMemorySpanExporter()
        tracer = OpenTelemetry(exporter, service, time.monotonic, share=share, draw=lambda: 0.5)
        self._tracers.append(tracer)
        return tracer

    def close(self) -> None:
        while self._tracers:
            self._tracers.pop().close()

    def of(self, service: str) -> list[Any]:
        """Its spans; no more are told after this."""
        self.close()
        return list(self._exporters[service].get_finished_spans())

    def one(self, service: str) -> Any:
        (span,) = self.of(service)
        return span


@pytest.fixture
def told() -> Iterator[Told]:
    made = Told()
    yield made
    made.close()


async def relayed(told: Told, bundle: TinyBundle, trace: bytes, **tracers: Tracer) -> None:
    """One frame goes through an edge to a cloud."""
    path = bundle.path
    async with AsyncExitStack() as opened:
        cloud = await opened.enter_async_context(a_tier("cloud", path, tracer=tracers["cloud"]))
        edge = await opened.enter_async_context(a_tier("edge", path, cloud.dial, tracer=tracers["edge"]))
        device = await opened.enter_async_context(a_device(path, edge.dial))
        frame = device.frame(bundle.items[0], 1, handover=Handover(2, 0))
        assert (await device.answer(replace(frame, trace=trace))).answered_by == "cloud"


async def test_the_spans_of_all_tiers_are_one_trace_each_within_the_one_before(
    tiny_bundle: TinyBundle, told: Told
) -> None:
    began = told.tracer("device", share=1.0).begin("device frame", b"", time.monotonic())
    await relayed(told, tiny_bundle, began.trace, edge=told.tracer("edge"), cloud=told.tracer("cloud"))
    began.end(lambda: {"outcome": "answered"})
    device, edge, cloud = (told.one(service) for service in ("device", "edge", "cloud"))
    assert device.parent is None
    assert len(began.trace) == 24
    assert {f"{span.context.trace_id:032x}" for span in (device, edge, cloud)} == {began.trace[:16].hex()}
    for above, below in ((device, edge), (edge, cloud)):
        assert below.parent.span_id == above.context.span_id
        assert above.start_time <= below.start_time <= below.end_time
    assert (edge.name, cloud.name) == ("edge frame", "cloud frame")
    facts = {name.removeprefix("isthmus."): value for name, value in cloud.attributes.items()}
    assert facts["outcome"] == "answered"
    assert (facts["cut"], facts["level"], facts["answered_by"], facts["sender"]) == (2, 0, "cloud", "edge")
    assert facts["run_s"] > 0
    assert edge.attributes["isthmus.upstream_s"] > facts["run_s"]


async def test_a_tier_that_tells_nothing_carries_the_trace_on(tiny_bundle: TinyBundle, told: Told) -> None:
    trace = bytes(range(1, 25))
    await relayed(told, tiny_bundle, trace, edge=Silent(), cloud=told.tracer("cloud"))
    cloud = told.one("cloud")
    assert (cloud.context.trace_id, cloud.parent.span_id) == tuple(
        int.from_bytes(part, "big") for part in (trace[:16], trace[16:])
    )


async def test_a_share_of_the_frames_that_have_no_trace_gets_one(tiny_bundle: TinyBundle, told: Told) -> None:
    """The draw is 0.5 each time."""
    await relayed(told, tiny_bundle, b"", edge=told.tracer("edge", share=0.6), cloud=told.tracer("cloud", share=0.4))
    edge, cloud = told.one("edge"), told.one("cloud")
    assert edge.parent is None
    assert cloud.parent.span_id == edge.context.span_id


async def test_the_others_are_not_told(tiny_bundle: TinyBundle, told: Told) -> None:
    await relayed(told, tiny_bundle, b"", edge=told.tracer("edge", share=0.4), cloud=told.tracer("cloud"))
    assert told.of("edge") == told.of("cloud") == []


@pytest.mark.slow
async def test_programs_tell_a_collector_and_name_the_trace_in_their_logs(
    tiny_bundle: TinyBundle, tmp_path: Path
) -> None:
    trace, log = bytes(range(1, 25)), tmp_path / "edge.log"
    with a_collector() as collector:
        common = (f'bundles=["{tiny_bundle.path}"]', "listen.port=0", f"traces.endpoint={collector.endpoint}")
        with a_program("cloud", tmp_path / "cloud.log", *common) as cloud:
            above = f"cloud.target={cloud.dial.target}"
            with a_program("edge", log, *common, above, "json_logs=true") as edge:
                async with a_device(tiny_bundle.path, edge.dial) as device, asyncio.timeout(30):
                    answered_by = ""
                    while answered_by != "cloud":
                        frame = device.frame(tiny_bundle.items[0], 1, handover=Handover(2, 0))
                        answered_by = (await device.answer(replace(frame, trace=trace))).answered_by
                    cloud.process.kill()
                    while answered_by == "cloud":
                        frame = device.frame(tiny_bundle.items[0], 1, handover=Handover(2, 0))
                        answered_by = (await device.answer(replace(frame, trace=trace))).answered_by
                edge.process.send_signal(signal.SIGTERM)
                assert edge.process.wait(30) == 0
    assert {span.trace_id for span in collector.spans} == {trace[:16]}
    assert "isthmus-edge" in collector.services.values()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    about_frames = [line for line in lines if line["logger"] == "serving.tier"]
    assert all(line["trace"] == trace[:16].hex() for line in about_frames)


def test_a_collector_elsewhere_is_reached_over_tls_with_a_certificate(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    pki.enrol("edge")
    tls, shown = pki.listen.tls, CallerTls(
        ca=tmp_path / "ca.pem", certificate=tmp_path / "edge.pem", key=tmp_path / "edge.key"
    )  # fmt: skip
    assert tls is not None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tls.client_ca))
    context.load_cert_chain(tls.certificate, tls.key)
    context.verify_mode = ssl.CERT_REQUIRED
    with a_collector(context) as collector:
        settings = TraceSettings(endpoint=collector.endpoint, share=1.0, tls=shown)
        tracer = tracer_of(settings, "edge", time.monotonic)
        tracer.begin("edge frame", b"", time.monotonic()).end(dict)
        tracer.close()
        assert [span.name for span in collector.spans] == ["edge frame"]


@pytest.mark.slow
def test_a_collector_that_is_not_there_stops_nobody() -> None:
    tracer = tracer_of(TraceSettings(endpoint="http://127.0.0.1:9/v1/traces", share=1.0), "edge", time.monotonic)
    tracer.begin("edge frame", b"", time.monotonic()).end(dict)
    tracer.close()


def test_without_the_library_the_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.delitem(sys.modules, "transport.otel", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ExtraMissing, match=r"\[traces\] needs.*isthmus\[otel\]"):
        tracer_of(TraceSettings(), "edge", time.monotonic)


@pytest.mark.parametrize("endpoint", ["http://collector.example:4318/v1/traces", "collector:4318", "ftp://127.0.0.1/"])
def test_spans_leave_this_machine_encrypted_or_not_at_all(endpoint: str) -> None:
    with pytest.raises(SettingsError, match=r"traces\.endpoint"):
        load(None, {"bundles": '["x"]', "traces.endpoint": endpoint})
