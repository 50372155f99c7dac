"""A small certificate authority of one's own: for tiers, and for devices that show a one-time token.

It lies in a folder: `ca.pem`, `ca.key` (the owner's only) and `tokens.json`, which holds no secret but its SHA-256.
Keys are ECDSA P-256, certificates X.509 as RFC 5280 wants them; a device's has its name and is good for calling only.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import re
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from transport.errors import AuthorityUnusable, EnrolmentRefused

AUTHORITY_DAYS: Final = 3650
TIER_DAYS: Final = 365
DEVICE_DAYS: Final = 90
TOKEN_HOURS: Final = 24.0
SECRET_BYTES: Final = 32
MAX_REQUEST_BYTES: Final = 4096
_SKEW: Final = timedelta(hours=2)
"""Certificates are good from this long ago: clocks differ."""
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


def _utc() -> datetime:
    return datetime.now(UTC)


class Authority:
    """Signs certificates and keeps the tokens that allow it. Belongs to one process.

    Args:
        folder: where it lies; see `create`.
        now: the time of day, in UTC.

    Raises:
        AuthorityUnusable: the folder holds no authority.
    """

    def __init__(self, folder: Path, now: Callable[[], datetime] = _utc) -> None:
        self._folder = folder
        self._now = now
        try:
            self.certificate = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
            key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), password=None)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as exc:
            raise AuthorityUnusable(str(folder), str(exc)) from exc
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise AuthorityUnusable(str(folder), "its key is of another kind than ECDSA")
        self._key = key

    @classmethod
    def create(cls, folder: Path, now: Callable[[], datetime] = _utc) -> Authority:
        """Make an authority in a folder that has none.

        Raises:
            AuthorityUnusable: there is one already, or the folder cannot be written.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"isthmus {secrets.token_hex(4)}")])
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        certificate = (
            _builder(name, name, key.public_key(), now(), AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(key, hashes.SHA256())
        )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_secret(folder / "ca.key", private_pem(key))
            (folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        except OSError as exc:
            raise AuthorityUnusable(str(folder), exc.strerror or str(exc)) from exc
        return cls(folder, now)

    @property
    def pem(self) -> bytes:
        """What others need to recognise certificates of this authority."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def tier(self, name: str, hosts: Sequence[str]) -> tuple[bytes, bytes]:
        """A new key and certificate (PEM) of a tier reached under these host names or addresses.

        It is good for calling the tier above, too.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = x509.SubjectAlternativeName([_host(host) for host in hosts])
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        return private_pem(key), self._signed(key.public_key(), name, usages, TIER_DAYS, alternatives)

    def token(self, name: str, hours: float = TOKEN_HOURS) -> bytes:
        """A secret that allows one certificate in this name, once, within some hours.

        Raises:
            EnrolmentRefused: the name is none that a certificate may carry.
        """
        if not _NAME.fullmatch(name):
            raise EnrolmentRefused("a device's name is 1 to 64 letters, digits, points, dashes and underscores")
        secret = secrets.token_bytes(SECRET_BYTES)
        tokens = self._tokens()
        tokens[_hash(secret)] = {"name": name, "until": (self._now() + timedelta(hours=hours)).timestamp()}
        self._keep(tokens)
        return secret

    def enrol(self, secret: bytes, request_pem: bytes) -> bytes:
        """A device's certificate (PEM) for its token and its signing request. The token is spent before it is signed.

        Raises:
            EnrolmentRefused: the token is unknown, spent or out of date, or the request is none.
        """
        request = _request(request_pem)
        tokens = self._tokens()
        found = tokens.pop(_hash(secret), None)
        if found is None:
            raise EnrolmentRefused("this token is not known here, or has been used; ask for a new one")
        self._keep(tokens)
        if self._now().timestamp() > float(found["until"]):
            raise EnrolmentRefused("this token is out of date; ask for a new one")
        return self._signed(request, str(found["name"]), [ExtendedKeyUsageOID.CLIENT_AUTH], DEVICE_DAYS, None)

    def _signed(
        self,
        key: ec.EllipticCurvePublicKey,
        name: str,
        usages: Sequence[x509.ObjectIdentifier],
        days: int,
        alternatives: x509.SubjectAlternativeName | None,
    ) -> bytes:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = (
            _builder(subject, self.certificate.subject, key, self._now(), days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        )
        if alternatives is not None:
            builder = builder.add_extension(alternatives, critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _tokens(self) -> dict[str, dict[str, str | float]]:
        path = self._folder / "tokens.json"
        try:
            found: dict[str, dict[str, str | float]] = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as exc:
            raise AuthorityUnusable(str(self._folder), f"its tokens cannot be read: {exc}") from exc
        return found

    def _keep(self, tokens: dict[str, dict[str, str | float]]) -> None:
        now = self._now().timestamp()
        fresh = self._folder / "tokens.json.part"
        with fresh.open("w") as file:
            json.dump({key: token for key, token in tokens.items() if float(token["until"]) >= now}, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._folder / "tokens.json")


def signing_request() -> tuple[bytes, bytes]:
    """A new private key, and the request (PEM, PKCS 10) to have it certified; the authority chooses the name."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return private_pem(key), request.public_bytes(serialization.Encoding.PEM)


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as PEM (PKCS 8), not encrypted."""
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


def write_secret(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, and that was not there before.

    Raises:
        OSError: it is there already, or cannot be written.
    """
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=days))
    )


def _request(pem: bytes) -> ec.EllipticCurvePublicKey:
    """The key of a signing request whose sender has the private key to it."""
    refused = EnrolmentRefused("this is no signing request of an ECDSA P-256 key; update the device's software")
    if len(pem) > MAX_REQUEST_BYTES:
        raise refused
    try:
        request = x509.load_pem_x509_csr(pem)
        key, proven = request.public_key(), request.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise refused from exc
    if not proven or not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise refused
    return key


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _hash(secret: bytes) -> str:
    return hashlib.sha256(secret).hexdigest()
