"""TLS of the REST door: the same files as gRPC's, read again when they change, and who calls."""

from __future__ import annotations

import logging
import ssl
from typing import Final

from transport.admission import Caller
from transport.certificates import caller_in, stamps
from transport.errors import CertificateUnusable
from transport.settings import Tls

_PROTOCOLS: Final = ["http/1.1"]
_log = logging.getLogger(__name__)


def server_context(tls: Tls) -> ssl.SSLContext:
    """A context that asks every caller for a certificate of the authority; new connections get renewed files.

    Raises:
        CertificateUnusable: a file cannot be read now. Later, the last readable ones stay in use.
    """
    files = (tls.certificate, tls.key, tls.client_ca)
    current, seen = _context(tls), stamps(*files)

    def renew(connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _context_: ssl.SSLContext) -> None:
        nonlocal current, seen
        found = stamps(*files)
        if found != seen:
            seen = found
            try:
                current = _context(tls)
            except CertificateUnusable as exc:
                _log.error("%s; the certificate read before stays in use", exc)
        connection.context = current

    first = _context(tls)
    first.sni_callback = renew  # called for each connection, whether it names a server or not
    return first


def caller_of(connection: ssl.SSLObject | None) -> Caller | None:
    """Whose certificate a connection came with, which TLS has checked; None without TLS."""
    if connection is None:
        return None
    certificate = connection.getpeercert(binary_form=True)
    if certificate is None:
        return None
    return caller_in(certificate)


def _context(tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(_PROTOCOLS)
    try:
        context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ssl.SSLError) as exc:
        raise CertificateUnusable("oip.rest.tls.certificate", str(tls.certificate), str(exc)) from exc
    try:
        context.load_verify_locations(tls.client_ca)
    except (OSError, ssl.SSLError) as exc:
        raise CertificateUnusable("oip.rest.tls.client_ca", str(tls.client_ca), str(exc)) from exc
    return context
