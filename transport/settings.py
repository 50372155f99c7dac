"""Where to listen and where to call, checked when built."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Self

import grpc
from pydantic import BaseModel, ConfigDict, Field, model_validator

from protocol.topics import NAME
from transport.address import Address, Target, is_loopback
from transport.errors import CertificateUnusable, InsecureBinding, InsecureDial

_log = logging.getLogger(__name__)

Port = Annotated[int, Field(ge=0, le=65535)]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Tls(_Settings):
    """A tier's certificate and key, and the authority that must have signed its callers' certificates (PEM files)."""

    certificate: Path
    key: Path
    client_ca: Path
    revoked: Path | None = None
    """Text file of callers no longer welcome: a certificate's name or SHA-256 fingerprint on each line."""

    def credentials(self) -> grpc.ServerCredentials:
        """Read the files, and again at new connections when they have changed; open streams go on undisturbed.

        Raises:
            CertificateUnusable: one of them cannot be read now. Later, the last readable ones stay in use.
        """
        current = self._read()

        def changed() -> grpc.ServerCertificateConfiguration | None:
            nonlocal current
            try:
                found = self._read()
            except CertificateUnusable as exc:
                _log.error("%s; the certificate read before stays in use", exc)
                return None
            if found == current:
                return None
            current = found
            _log.info("the certificate has changed; new connections get the new one")
            return _configuration(found)

        return grpc.dynamic_ssl_server_credentials(_configuration(current), changed, require_client_authentication=True)

    def _read(self) -> tuple[bytes, bytes, bytes]:
        """Key, certificate, and authority of the callers."""
        return (
            _pem("tls.key", self.key),
            _pem("tls.certificate", self.certificate),
            _pem("tls.client_ca", self.client_ca),
        )


class CallerTls(_Settings):
    """What a caller shows and whom it trusts (PEM files): the tier's authority, its own certificate and key."""

    ca: Path
    certificate: Path
    key: Path
    server_name: str | None = None
    """Name expected in the tier's certificate, where it is not the host of the target."""

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files.

        Raises:
            CertificateUnusable: one of them cannot be read.
        """
        return grpc.ssl_channel_credentials(
            _pem("tls.ca", self.ca), _pem("tls.key", self.key), _pem("tls.certificate", self.certificate)
        )


class Quota(_Settings):
    """What one certified caller may have, over all its streams."""

    frames_per_s: Annotated[float, Field(gt=0, le=1e6)] = 1000.0
    burst: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    """Frames that may come at once after a quiet time."""
    streams: Annotated[int, Field(ge=1, le=1024)] = 16


class Quotas(Quota):
    """The quota of every caller, and of those named apart by the name in their certificate."""

    callers: dict[str, Quota] = {}

    def of(self, name: str) -> Quota:
        """The quota of a caller."""
        return self.callers.get(name, self)


class Listen(_Settings):
    """Where a tier listens. Port 0 lets the system pick one."""

    host: str = "127.0.0.1"
    port: Port = 0
    tls: Tls | None = None

    def require_safe(self) -> None:
        """Refuse to serve strangers.

        Raises:
            InsecureBinding: the host is beyond loopback and there is no TLS with a client CA.
        """
        if self.tls is None and not is_loopback(self.host):
            raise InsecureBinding(self.host)

    @property
    def address(self) -> str:
        """`host:port` as gRPC wants it."""
        return str(Address(self.host, self.port))


class Dial(_Settings):
    """A tier to call: `target` is `host:port`."""

    target: Target
    tls: CallerTls | None = None
    group: Annotated[str, Field(pattern=f"^{NAME}$")] | None = None
    """Where `target` is an MQTT broker: the group of workers behind it that are this tier."""
    datagrams: bool = False
    """Experimental: frames in QUIC datagrams (UDP), for links that lose packets; both ends need the extra `quic`."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.datagrams and self.group is not None:
            raise ValueError("group and datagrams exclude each other: a broker is reached over TCP; remove one of them")
        return self

    @property
    def address(self) -> Address:
        """The target, taken apart."""
        return Address.read(self.target)

    @property
    def is_near(self) -> bool:
        """Whether the target is this machine."""
        return self.address.is_near

    def require_safe(self) -> None:
        """Refuse to send features where others could read them.

        Raises:
            InsecureDial: the target is beyond loopback and there is no TLS.
        """
        if self.tls is None and not self.is_near:
            raise InsecureDial(self.target)


class Broker(Dial):
    """An MQTT broker at which a tier works."""

    group: Annotated[str, Field(pattern=f"^{NAME}$")] = "edge"
    """Workers of one group share its frames."""


def _configuration(files: tuple[bytes, bytes, bytes]) -> grpc.ServerCertificateConfiguration:
    key, certificate, client_ca = files
    return grpc.ssl_server_certificate_configuration([(key, certificate)], client_ca)


def _pem(key: str, path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise CertificateUnusable(key, str(path), exc.strerror or "it cannot be read") from exc
    if b"-----BEGIN " not in data:
        raise CertificateUnusable(key, str(path), "it is not PEM text")
    return data
