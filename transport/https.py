"""TLS of doors that speak HTTP: the same files as gRPC's, read again when they change, and who calls."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Collection
from typing import Final

from transport.admission import Caller, Revoked
from transport.certificates import caller_in, stamps
from transport.errors import CertificateUnusable
from transport.settings import Tls

_PROTOCOLS: Final = ["http/1.1"]
_log = logging.getLogger(__name__)


def server_context(tls: Tls, key: str) -> ssl.SSLContext:
    """A context that asks every caller for a certificate of the authority; new connections get renewed files.

    Args:
        tls: the files.
        key: of the settings that name them, for the sentence of an error: `oip.rest`.

    Raises:
        CertificateUnusable: a file cannot be read now. Later, the last readable ones stay in use.
    """
    files = (tls.certificate, tls.key, tls.client_ca)
    current, seen = _context(tls, key), stamps(*files)

    def renew(connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _context_: ssl.SSLContext) -> None:
        nonlocal current, seen
        found = stamps(*files)
        if found != seen:
            seen = found
            try:
                current = _context(tls, key)
            except CertificateUnusable as exc:
                _log.error("%s; the certificate read before stays in use", exc)
        connection.context = current

    first = _context(tls, key)
    first.sni_callback = renew  # called for each connection, whether it names a server or not
    return first


def caller_of(connection: ssl.SSLObject | ssl.SSLSocket | None) -> Caller | None:
    """Whose certificate a connection came with, which TLS has checked; None without TLS."""
    if connection is None:
        return None
    certificate = connection.getpeercert(binary_form=True)
    if certificate is None:
        return None
    return caller_in(certificate)


def may_read(caller: Caller | None, readers: Collection[str], revoked: Revoked | None) -> bool:
    """Whether a caller may read at a door for operators.

    Args:
        caller: None without TLS: a program of this machine, which may.
        readers: names of certificates; where there are none, everyone whom the authority has certified may.
        revoked: who is no longer welcome.
    """
    if caller is None:
        return True
    if revoked is not None and caller in revoked:
        return False
    return not readers or caller.name in readers


def _context(tls: Tls, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(_PROTOCOLS)
    try:
        context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ssl.SSLError) as exc:
        raise CertificateUnusable(f"{key}.tls.certificate", str(tls.certificate), str(exc)) from exc
    try:
        context.load_verify_locations(tls.client_ca)
    except (OSError, ssl.SSLError) as exc:
        raise CertificateUnusable(f"{key}.tls.client_ca", str(tls.client_ca), str(exc)) from exc
    return context
