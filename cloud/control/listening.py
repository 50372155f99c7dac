"""HTTP and HTTPS by uvicorn: one port for devices, which show certificates, and for people, who show tokens."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Iterator, MutableMapping
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from cloud.control.access import PEER
from transport.admission import Caller
from transport.certificates import caller_in, stamps
from transport.errors import CertificateUnusable, address_error
from transport.settings import Listen, Tls

DRAIN_S = 2
_log = logging.getLogger(__name__)


class _Protocol(H11Protocol):
    """Tells the application whose certificate a connection came with."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        caller, app = _caller(transport), self.app

        async def told(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
            scope[PEER] = caller
            await app(scope, receive, send)

        self.app = told


class Door(uvicorn.Server):
    """A server that leaves signals to its program."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Certificates:
    """A server's TLS files, read again when they have changed; new connections get the new ones.

    Raises:
        CertificateUnusable: one of them cannot be read at the start.
    """

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.verify_mode = ssl.CERT_OPTIONAL
        self._stamp = stamps(tls.certificate, tls.key)
        try:
            self.context.load_verify_locations(cafile=str(tls.client_ca))
            self.context.load_cert_chain(tls.certificate, tls.key)
        except OSError as exc:
            raise CertificateUnusable("listen.tls", str(tls.certificate), exc.strerror or str(exc)) from exc

    def look(self) -> None:
        """Read the files if they have changed; while they cannot be read, the old ones stay in use."""
        stamp = stamps(self._tls.certificate, self._tls.key)
        if stamp == self._stamp:
            return
        try:
            self.context.load_cert_chain(self._tls.certificate, self._tls.key)
        except OSError as exc:
            _log.error("listen.tls: %s; the certificate read before stays in use", exc)
            return
        self._stamp = stamp
        _log.info("the certificate has changed; new connections get the new one")


def bound(listen: Listen) -> socket.socket:
    """A socket that is bound where the settings say.

    Raises:
        AddressInUse, AddressUnusable: it cannot be.
    """
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    made = socket.socket(family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((listen.host, listen.port))
        made.listen(1024)
    except OSError as exc:
        made.close()
        raise address_error(listen.host, listen.port, exc) from exc
    made.setblocking(False)
    return made


def door(app: FastAPI, certificates: Certificates | None) -> Door:
    """A server of the application, not yet serving."""
    config = uvicorn.Config(
        app, http=_Protocol, ws="none", lifespan="off", log_config=None, access_log=False, server_header=False,
        timeout_keep_alive=75, timeout_graceful_shutdown=DRAIN_S, h11_max_incomplete_event_size=32 << 10,
    )  # fmt: skip
    config.load()
    if certificates is not None:
        config.ssl = certificates.context
    return Door(config)


def _caller(transport: asyncio.Transport) -> Caller | None:
    found = transport.get_extra_info("ssl_object")
    der = None if found is None else found.getpeercert(binary_form=True)
    if not der:
        return None
    caller = caller_in(der)
    return caller if caller.name else None
