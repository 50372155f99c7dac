"""What a running agent tells: health, metrics, the last frames, and `isthmus top`."""

import asyncio
import http.client
import io
import json
import logging
import ssl
from typing import Any, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from device.settings import StatusSettings
from device.status import Recent
from device.status.metrics import Metrics
from device.status.server import StatusServer
from isthmus.cli.main import main
from isthmus.cli.top import picture
from runtime.logs import JsonLines
from tests.transport.pki import Pki

NOBODY = "127.0.0.1:9"


class Status:
    def __init__(self, port: int) -> None:
        self.port = port

    async def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        return await asyncio.to_thread(self._get, path, headers)

    async def json(self, path: str) -> object:
        return json.loads((await self.get(path))[1])

    def _get(self, path, headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@pytest.fixture
async def agent(device, capsys):
    """A device with an edge that is not there, told to stop afterwards; its status once it has ended some frames."""
    stop, out = asyncio.Event(), ""
    running = asyncio.create_task(
        device.run(stop=stop, source__rate_hz=20.0, deadline_s=30.0, edge__target=NOBODY, status__port=0)
    )
    try:
        async with asyncio.timeout(60):
            while len(device.lines()) < 5 and not running.done():
                await asyncio.sleep(0.02)
                out += capsys.readouterr().out
        out += capsys.readouterr().out
        yield Status(json.loads(out.splitlines()[0])["status_port"])
    finally:
        stop.set()
        await running


async def test_health_history_and_metrics_are_told(agent, device):
    await health(agent)
    await history(agent, device)
    await metrics(agent, device)


async def health(agent):
    status, body = await agent.get("/healthz")
    assert status == 200
    assert json.loads(body) == {"well": True, "troubles": ["edge is not reachable"], "tiers": {"edge": False}}


async def history(agent, device):
    line = device.lines()[2]
    by_number = await agent.json(f"/frames/{line['frame']}")
    assert by_number == await agent.json(f"/frames/{line['key']}")
    assert by_number["answer"] == line["answer"]
    assert by_number["decision"] == line["decision"]
    status, body = await agent.get("/frames/999999")
    assert (status, "not among the last" in json.loads(body)["error"]) == (404, True)
    numbers = [one["frame"] for one in await agent.json("/frames")]
    assert numbers == sorted(numbers, reverse=True)


async def metrics(agent, device):
    before = len(device.lines())
    text = (await agent.get("/metrics"))[1].decode()
    after = len(device.lines())
    families = {family.name: family for family in text_string_to_metric_families(text)}
    ended = sum(sample.value for sample in families["isthmus_device_frames"].samples if sample.name.endswith("_total"))
    assert before <= ended <= after
    assert {sample.labels["of"]: sample.value for sample in families["isthmus_device_tier_up"].samples} == {"edge": 0.0}
    buckets = families["isthmus_device_latency_seconds"].samples
    assert any(sample.name.endswith("_bucket") and sample.labels["le"] == "+Inf" for sample in buckets)
    labels = {label for family in families.values() for sample in family.samples for label in sample.labels}
    assert labels <= {"ended", "by", "of", "le"}, "no device is named: as many series as there are devices"
    assert families["process_resident_memory_bytes"].samples[0].value > 1e6


async def test_top_shows_tiers_and_frames(agent, device, capsys):
    await asyncio.to_thread(ended_well, "top", str(agent.port), "--json")
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["status"]["answered"] >= 5
    out = io.StringIO()
    Console(file=out, width=140).print(picture(told["status"], told["frames"], 20.0))
    page = out.getvalue()
    assert "edge away" in page
    assert "whole" in page
    assert told["frames"][0]["source"] in page
    assert (await agent.get("/healthz", Host="example.org"))[0] == 403, "only programs of this machine are told"
    assert (await agent.get("/secrets"))[0] == 404


def ended_well(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 0


def test_top_without_an_agent_says_what_to_do(reserved_port, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["top", str(reserved_port)])
    assert ended.value.code == 5
    assert "add [status] port" in capsys.readouterr().err


class Well:
    """The report of an agent that is well."""

    def health(self) -> dict[str, bool]:
        return {"well": True}


async def test_over_tls_it_is_told_to_those_who_are_named_and_not_revoked(tmp_path):
    pki = Pki(tmp_path)
    for name in ("prometheus", "camera", "gone"):
        pki.enrol(name)
    (tmp_path / "revoked").write_text("gone\n")
    settings = StatusSettings(host="0.0.0.0", tls=pki.listen.tls, readers=("prometheus", "gone"))
    with StatusServer(settings, cast(Any, Well()), Metrics(dict), Recent(16)) as server:

        def asked_by(name: str | None) -> int:
            shown = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
            if name is not None:
                shown.load_cert_chain(tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
            connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=20, context=shown)
            try:
                connection.request("GET", "/healthz", headers={"Host": "camera.local"})
                return connection.getresponse().status
            finally:
                connection.close()

        told = [await asyncio.to_thread(asked_by, name) for name in ("prometheus", "camera", "gone")]
        assert told == [200, 403, 403]
        with pytest.raises(OSError):
            await asyncio.to_thread(asked_by, None)


def test_beyond_this_machine_it_needs_tls():
    with pytest.raises(ValueError, match=r"\[status\.tls\]"):
        StatusSettings(host="0.0.0.0")


def test_logs_can_be_json():
    record = logging.LogRecord("device.x", logging.WARNING, "f", 1, "%d frames\nlost", (3,), None)
    line = json.loads(JsonLines().format(record))
    assert (line["level"], line["logger"], line["message"]) == ("warning", "device.x", "3 frames\nlost")
