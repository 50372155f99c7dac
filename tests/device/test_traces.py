"""A device tells of a share of its frames, and puts their traces into what it sends."""

from __future__ import annotations

import pytest

from tests.device.conftest import DeviceRuns
from tests.serving.tiers import a_tier
from tests.transport.collector import a_collector

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the extra otel")


async def test_frames_are_told_from_capture_to_end_and_sent_with_their_traces(
    device: DeviceRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces: list[bytes] = []

    class Noted:
        """Of a tier: what came with the frames."""

        def begin(self, name: str, trace: bytes, began_s: float, /) -> object:
            from transport.tracing import Untold

            traces.append(trace)
            return Untold(trace)

        def close(self) -> None: ...

    with a_collector() as collector:
        async with a_tier("edge", device.bundle, tracer=Noted()) as edge:
            lines = await device.run(
                source__limit=12, source__keep="all", deadline_s=30.0, edge__target=edge.dial.target,
                policy__name="fixed", policy__cut=2, policy__level=0, policy__route="edge",
                traces__endpoint=collector.endpoint, traces__share=1.0,
            )  # fmt: skip
    spans = {span.trace_id + span.span_id: span for span in collector.spans}
    by_edge = [line["frame"] for line in lines if line["by"] == "edge"]
    assert by_edge, "an edge is there"
    assert len(traces) >= len(by_edge)
    assert set(traces) <= set(spans)
    ended = {}
    for span in spans.values():
        told = {one.key.removeprefix("isthmus."): one.value for one in span.attributes}
        assert span.name == "device frame"
        assert span.end_time_unix_nano > span.start_time_unix_nano
        ended[told["frame"].int_value] = told["outcome"].string_value
        if told["frame"].int_value in by_edge:
            assert told["answered_by"].string_value == "edge"
    assert ended == {line["frame"]: line["ended"] for line in lines}
    assert {collector.services[span.span_id] for span in spans.values()} == {"isthmus-device"}
