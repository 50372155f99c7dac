"""From one-time token to device certificate, over the network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.transport.callers import calling, echo, frame, serving
from transport.authority import Authority, signing_request
from transport.enrolment import METHOD, EnrolmentServer, Token, enrol, make_token, write_token
from transport.errors import AuthorityUnusable, EnrolmentFailed, EnrolmentRefused
from transport.events import Answered, Welcomed
from transport.settings import CallerTls, Dial, Listen, Tls


@asynccontextmanager
async def enrolling(authority: Authority) -> AsyncIterator[EnrolmentServer]:
    server = EnrolmentServer(authority, "127.0.0.1", ["127.0.0.1"])
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "pki")


async def test_a_token_becomes_a_certificate_that_a_tier_takes(authority: Authority, tmp_path: Path) -> None:
    async with enrolling(authority) as server:
        write_token(make_token(authority, "camera-1", f"127.0.0.1:{server.port}", 1.0), tmp_path / "token.json")
        await enrol(Token.read(tmp_path / "token.json"), tmp_path / "device")
    assert (tmp_path / "device" / "device.key").stat().st_mode & 0o077 == 0
    key, certificate = authority.tier("edge", ["127.0.0.1"])
    (tmp_path / "edge.key").write_bytes(key)
    (tmp_path / "edge.pem").write_bytes(certificate)
    tls = Tls(certificate=tmp_path / "edge.pem", key=tmp_path / "edge.key", client_ca=tmp_path / "pki" / "ca.pem")
    own = CallerTls(
        ca=tmp_path / "device" / "ca.pem",
        certificate=tmp_path / "device" / "device.pem",
        key=tmp_path / "device" / "device.key",
    )
    async with (
        serving(echo, listen=Listen(tls=tls)) as tier,
        calling("", dial=Dial(target=f"127.0.0.1:{tier.port}", tls=own)) as caller,
    ):
        await caller.expect(Welcomed)
        caller.client.send(frame(1))
        await caller.expect(Answered)


async def test_a_token_is_good_once(authority: Authority, tmp_path: Path) -> None:
    async with enrolling(authority) as server:
        token = make_token(authority, "camera-1", f"127.0.0.1:{server.port}", 1.0)
        ends = await asyncio.gather(
            *(enrol(token, tmp_path / f"device-{number}") for number in range(4)), return_exceptions=True
        )
    assert [type(end) for end in ends].count(type(None)) == 1
    assert all("has been used" in str(end) for end in ends if end is not None)


async def test_a_device_speaks_only_to_the_tier_of_its_token(authority: Authority, tmp_path: Path) -> None:
    other = Authority.create(tmp_path / "other")
    async with enrolling(other) as server:
        token = make_token(authority, "camera-1", f"127.0.0.1:{server.port}", 1.0)
        with pytest.raises(EnrolmentFailed):
            await enrol(token, tmp_path / "device")
    assert not (tmp_path / "device").exists()


@pytest.mark.parametrize("message", [b"", b"\xff" * 30, b"\x0a\x05short", b"\x0a\x20" + bytes(32) + b"\x12\x03csr"])
async def test_hostile_requests_are_refused_in_few_words(authority: Authority, message: bytes) -> None:
    async with enrolling(authority) as server:
        trusted = grpc.ssl_channel_credentials(authority.pem)
        async with grpc.aio.secure_channel(f"127.0.0.1:{server.port}", trusted) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(METHOD)(message, timeout=20)
    assert caught.value.code() in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT)
    assert "/" not in caught.value.details()


def test_a_token_out_of_date_is_refused(tmp_path: Path) -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    authority = Authority.create(tmp_path / "pki", lambda: now)
    secret = authority.token("camera-1", hours=1.0)
    now += timedelta(hours=2)
    with pytest.raises(EnrolmentRefused, match="out of date"):
        authority.enrol(secret, signing_request()[1])


def test_the_authority_chooses_name_and_use_whatever_the_request_says(authority: Authority) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    wish = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "root of all")])
    )
    wish = wish.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pem = wish.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    certificate = x509.load_pem_x509_certificate(authority.enrol(authority.token("camera-1"), pem))
    assert certificate.subject.rfc4514_string() == "CN=camera-1"
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [x509.ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate.verify_directly_issued_by(authority.certificate)


def test_requests_that_prove_no_key_are_refused_and_do_not_spend_the_token(authority: Authority) -> None:
    secret = authority.token("camera-1")
    weak = rsa.generate_private_key(65537, 1024)
    rsa_request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(weak, hashes.SHA256())
    good = signing_request()[1]
    for request in (b"", b"x" * 5000, rsa_request.public_bytes(serialization.Encoding.PEM), good[:200]):
        with pytest.raises(EnrolmentRefused):
            authority.enrol(secret, request)
    authority.enrol(secret, good)


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", "x" * 65, "a\n", "ü"])
def test_names_that_a_certificate_may_not_carry(authority: Authority, name: str) -> None:
    with pytest.raises(EnrolmentRefused):
        authority.token(name)


def test_secrets_are_not_kept_and_keys_are_their_owners(authority: Authority, tmp_path: Path) -> None:
    secret = authority.token("camera-1")
    kept = (tmp_path / "pki" / "tokens.json").read_text()
    assert secret.hex() not in kept
    assert (tmp_path / "pki" / "ca.key").stat().st_mode & 0o077 == 0
    with pytest.raises(AuthorityUnusable):
        Authority.create(tmp_path / "pki")
    with pytest.raises(AuthorityUnusable, match="isthmus enroll authority"):
        Authority(tmp_path)
