"""Figures for Prometheus: what the fleet is, told to those who may know."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import closing
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from cloud.control.dashboard.tiers import look
from cloud.control.settings import Settings
from serving.operations import Operations
from serving.settings import OperationsSettings
from tests.cloud.control.conftest import Maker, Served, serving
from tests.transport.pki import Pki
from transport.settings import Listen


def figures(text: str) -> dict[str, float]:
    """By name and labels, as they are written."""
    families = text_string_to_metric_families(text)
    samples = [sample for family in families for sample in family.samples]
    return {f"{one.name}{','.join(one.labels.values())}": one.value for one in samples}


def test_they_count_devices_rollouts_and_bundles(maker: Maker, tmp_path: Path):
    with serving(Settings(folder=tmp_path, listen=Listen(), makers=(maker.public,))) as own:
        with closing(own.client()) as client:
            own.device("quiet", "counted")
            digest = client.publish(maker.release(1, "counted"))["digest"]
            client.post("/v1/rollouts", {"digest": digest})
        told = figures(httpx.get(own.url + "/metrics", trust_env=False, verify=False).text)
    assert told["isthmus_control_bundles"] == 1
    assert told["isthmus_control_rolloutsrunning"] == 1
    assert told["isthmus_control_rolloutsrolled_back"] == 0
    assert not any("quiet" in name for name in told)


def test_over_tls_they_are_for_named_certificates_and_for_tokens(tmp_path: Path):
    pki = Pki(tmp_path)
    for name in ("prometheus", "camera"):
        pki.enrol(name)
    settings = Settings(folder=tmp_path / "state", listen=pki.listen, readers=("prometheus",))

    def asked_by(own: Served, name: str | None, **headers: str) -> int:
        shown = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        if name is not None:
            shown.load_cert_chain(tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
        with httpx.Client(verify=shown, trust_env=False) as client:
            return client.get(own.url + "/metrics", headers=headers).status_code

    with serving(settings) as own:
        assert asked_by(own, "prometheus") == 200
        assert asked_by(own, "camera") == 401
        assert asked_by(own, None) == 401
        assert asked_by(own, None, Authorization=f"Bearer {own.admin}") == 200
        (tmp_path / "revoked").write_text("prometheus\n")
    with serving(settings) as own:
        assert asked_by(own, "prometheus") == 401


async def test_queues_of_tiers_elsewhere_are_asked_for_with_our_certificate(tmp_path: Path):
    from prometheus_client import CollectorRegistry

    pki = Pki(tmp_path)
    for name in ("control", "camera"):
        pki.enrol(name)
    door = Operations(
        OperationsSettings(tls=pki.listen.tls, readers=("control",)), ready=lambda: True,
        explain=lambda: {"queued": 3}, registry=CollectorRegistry(), clock=asyncio.get_running_loop().time,
    )  # fmt: skip
    await door.start()
    try:
        dials = {name: pki.dial(name, door.port) for name in ("control", "camera")}
        ours, others = await asyncio.to_thread(look, dials)
    finally:
        await door.stop()
    assert (ours.trouble, ours.figures) == ("", {"queued": 3})
    assert "403" in others.trouble
