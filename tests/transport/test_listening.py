"""Binding: ports in use, strangers, certificates."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from tests.transport.callers import calling, echo, frame, serving
from transport.client import State
from transport.errors import AddressInUse, AddressUnusable, CertificateUnusable, InsecureBinding
from transport.events import Answered, Welcomed
from transport.settings import CallerTls, Dial, Listen, Tls


async def test_a_port_in_use_is_named_with_the_way_out() -> None:
    async with serving(echo) as first:
        with pytest.raises(AddressInUse, match=rf"port {first.port} on 127.0.0.1 is in use.*listen.port") as raised:
            async with serving(echo, listen=Listen(port=first.port)):
                pass
        assert raised.value.exit_code == 4


async def test_a_port_held_by_a_plain_socket_is_in_use_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(AddressInUse):
        async with serving(echo, listen=Listen(port=other.getsockname()[1])):
            pass


async def test_a_port_is_free_again_after_the_server_stopped(reserved_port: int) -> None:
    listen = Listen(port=reserved_port)
    async with serving(echo, listen=listen), calling(listen.address) as caller:
        await caller.expect(Welcomed)
    async with serving(echo, listen=listen) as second:
        assert second.port == reserved_port


async def test_an_address_of_another_machine_cannot_be_listened_on(certificates: Path) -> None:
    tls = tier_tls(certificates)
    with pytest.raises(AddressUnusable, match=r"203\.0\.113\.1"):
        async with serving(echo, listen=Listen(host="203.0.113.1", tls=tls)):
            pass


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "tier.example", ""])
async def test_listening_beyond_loopback_without_tls_is_refused_with_the_lines_that_allow_it(host: str) -> None:
    with pytest.raises(InsecureBinding) as raised:
        async with serving(echo, listen=Listen(host=host)):
            pass
    assert raised.value.exit_code == 4
    for line in ("[listen.tls]", "certificate =", "key =", "client_ca ="):
        assert line in str(raised.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.9", "::1"])
def test_loopback_needs_no_tls(host: str) -> None:
    Listen(host=host).require_safe()


def tier_tls(folder: Path) -> Tls:
    return Tls(certificate=folder / "tier.pem", key=folder / "tier.key", client_ca=folder / "ca.pem")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and certificates of a tier and a device that it signed; and a stranger who signed himself."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command to make certificates")
    folder = tmp_path_factory.mktemp("certificates")

    def make(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True)

    fresh = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    names = "subjectAltName=IP:127.0.0.1,DNS:localhost"
    make(*fresh, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test authority")
    make(*fresh, "-keyout", "stranger.key", "-out", "stranger.pem", "-subj", "/CN=stranger")
    for name in ("tier", "device"):
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-addext", names, "-addext", "basicConstraints=CA:FALSE")
        make(*fresh, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}", *signed)
    return folder


async def test_with_tls_only_callers_of_the_authority_are_served(certificates: Path) -> None:
    def dial(name: str, port: int) -> Dial:
        tls = CallerTls(
            ca=certificates / "ca.pem", certificate=certificates / f"{name}.pem", key=certificates / f"{name}.key"
        )
        return Dial(target=f"127.0.0.1:{port}", tls=tls)

    async with serving(echo, listen=Listen(host="0.0.0.0", tls=tier_tls(certificates))) as server:
        async with calling("", dial=dial("device", server.port)) as caller:
            await caller.expect(Welcomed)
            caller.client.send(frame(1))
            assert (await caller.expect(Answered)).result.id == 1
        for unwelcome in (dial("stranger", server.port), Dial(target=f"127.0.0.1:{server.port}")):
            async with calling("", dial=unwelcome) as caller:
                assert "unavailable" in await caller.attempted()
                assert caller.client.state is State.CONNECTING


def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    tls = Tls(certificate=tmp_path / "absent.pem", key=tmp_path / "absent.key", client_ca=tmp_path / "absent.pem")
    with pytest.raises(CertificateUnusable, match=r"tls.key.*absent.key"):
        tls.credentials()
    (tmp_path / "absent.key").write_text("no key")
    with pytest.raises(CertificateUnusable, match="not PEM"):
        tls.credentials()
