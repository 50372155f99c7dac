"""Who is let in: the same rules as for streams of frames, on both doors."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import grpc
import numpy as np
import pytest
from aiohttp import ClientConnectorError, ClientOSError, ClientSession, ServerDisconnectedError

from edge.program import run
from edge.settings import load
from runtime.errors import SettingsError
from serving.oip import messages
from serving.oip.messages import SERVICE
from serving.oip.settings import OipSettings
from tests.runtime.tiny_bundle import TinyBundle
from tests.serving.oip.doors import Doors, open_doors
from tests.transport.pki import Pki
from transport.errors import CertificateUnusable, InsecureBinding
from transport.settings import Quotas

INFER = "/v2/models/tiny/infer"


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    made = Pki(tmp_path)
    made.enrol("camera")
    return made


def context(pki: Pki, name: str | None) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(pki.folder / "ca.pem"))
    if name is not None:
        made.load_cert_chain(pki.folder / f"{name}.pem", pki.folder / f"{name}.key")
    return made


async def live(doors: Doors, tls: ssl.SSLContext, path: str = "/v2/health/live", body: bytes | None = None) -> int:
    url = doors.rest.replace("http:", "https:") + path
    async with (
        ClientSession() as session,
        session.request("POST" if body else "GET", url, ssl=tls, data=body) as answer,
    ):
        return answer.status


def test_a_door_beyond_loopback_needs_tls() -> None:
    for door in ("rest", "grpc"):
        with pytest.raises(InsecureBinding):
            OipSettings.model_validate({door: {"host": "0.0.0.0"}}).require_safe()


async def test_a_program_with_a_door_beyond_loopback_needs_to_trust_its_bundles(
    tiny_bundle: TinyBundle, pki: Pki
) -> None:
    assert pki.listen.tls is not None
    door = {"host": "0.0.0.0", "tls": pki.listen.tls.model_dump()}
    settings = load(None, {"bundles": [str(tiny_bundle.path)], "listen.port": 0, "oip.rest": door})
    with pytest.raises(SettingsError, match=r"\[trust\]"):
        await run(settings, stop=asyncio.Event())


async def test_rest_takes_only_certified_callers_and_new_files_hold_at_once(tiny_bundle: TinyBundle, pki: Pki) -> None:
    settings = OipSettings(rest=pki.listen)
    async with open_doors(tiny_bundle.path, settings=settings) as doors:
        assert await live(doors, context(pki, "camera")) == 200
        assert await live(doors, context(pki, "camera"), INFER, b"{}") == 400
        with pytest.raises((ClientConnectorError, ClientOSError, ServerDisconnectedError)):
            await live(doors, context(pki, None))
        before = await _certificate(doors, pki)
        pki.renew_tier()
        assert await _certificate(doors, pki) != before
        (pki.folder / "tier.pem").write_text("nothing")
        assert await live(doors, context(pki, "camera")) == 200


async def _certificate(doors: Doors, pki: Pki) -> bytes:
    """What a new connection is shown."""
    _, writer = await asyncio.open_connection("127.0.0.1", doors.oip.ports["rest"], ssl=context(pki, "camera"))
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    assert isinstance(shown, bytes)
    return shown


async def test_the_revoked_are_turned_away_at_both_doors(tiny_bundle: TinyBundle, pki: Pki) -> None:
    settings = OipSettings(rest=pki.listen, grpc=pki.listen)
    (pki.folder / "revoked").write_text("camera")
    async with open_doors(tiny_bundle.path, settings=settings) as doors:
        assert await live(doors, context(pki, "camera")) == 403
        assert await live(doors, context(pki, "camera"), INFER, b"{}") == 403
        credentials = pki.tls("camera")
        assert credentials is not None
        async with grpc.aio.secure_channel(doors.grpc, credentials.credentials()) as channel:
            for method in ("ServerLive", "ModelInfer"):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await channel.unary_unary(f"/{SERVICE}/{method}")(b"", timeout=20)
                assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_items_count_against_the_quota_of_the_name_in_the_certificate(tiny_bundle: TinyBundle, pki: Pki) -> None:
    quotas = Quotas(frames_per_s=0.001, burst=3)
    items = np.concatenate(tiny_bundle.items[:2])
    request = messages.ModelInferRequest(
        model_name="tiny",
        inputs=[{"name": "image", "datatype": "UINT8", "shape": items.shape}],
        raw_input_contents=[items.tobytes()],
    ).SerializeToString()
    credentials = pki.tls("camera")
    assert credentials is not None
    async with (
        open_doors(tiny_bundle.path, settings=OipSettings(grpc=pki.listen), quotas=quotas) as doors,
        grpc.aio.secure_channel(doors.grpc, credentials.credentials()) as channel,
    ):
        infer = channel.unary_unary(f"/{SERVICE}/ModelInfer")
        await infer(request, timeout=20)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await infer(request, timeout=20)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        trailing = dict(refused.value.trailing_metadata())
        assert int(trailing["grpc-retry-pushback-ms"]) > 100_000


async def test_a_certificate_that_cannot_be_read_is_named_at_the_start(tiny_bundle: TinyBundle, pki: Pki) -> None:
    (pki.folder / "tier.pem").write_text("nothing")
    with pytest.raises(CertificateUnusable, match=r"oip\.rest\.tls\.certificate"):
        async with open_doors(tiny_bundle.path, settings=OipSettings(rest=pki.listen)):
            pass
