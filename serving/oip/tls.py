"""TLS of the REST door: the same files as gRPC's, read again when they change, and who calls."""

from __future__ import annotations

import hashlib
import logging
import ssl
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from transport.admission import Caller
from transport.errors import CertificateUnusable
from transport.settings import Tls

_PROTOCOLS: Final = ["http/1.1"]
_log = logging.getLogger(__name__)


def server_context(tls: Tls) -> ssl.SSLContext:
    """A context that asks every caller for a certificate of the authority; new connections get renewed files.

    Raises:
        CertificateUnusable: a file cannot be read now. Later, the last readable ones stay in use.
    """
    current, stamps = _context(tls), _stamps(tls)

    def renew(connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _context_: ssl.SSLContext) -> None:
        nonlocal current, stamps
        found = _stamps(tls)
        if found != stamps:
            stamps = found
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
    names = x509.load_der_x509_certificate(certificate).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Caller(str(names[0].value) if names else "", hashlib.sha256(certificate).hexdigest())


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


def _stamps(tls: Tls) -> tuple[tuple[int, int], ...]:
    """When each file was written and how long it is; zeros where it cannot be looked at."""
    stamps = []
    for path in (tls.certificate, tls.key, tls.client_ca):
        try:
            found = path.stat()
            stamps.append((found.st_mtime_ns, found.st_size))
        except OSError:
            stamps.append((0, 0))
    return tuple(stamps)
