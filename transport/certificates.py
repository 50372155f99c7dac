"""What is read from certificates and their files by doors that have no gRPC to do it for them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from transport.admission import Caller


def caller_in(der: bytes) -> Caller:
    """Whom a certificate names, which TLS has checked; the name is empty where it has none."""
    names = x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Caller(str(names[0].value) if names else "", hashlib.sha256(der).hexdigest())


def stamps(*paths: Path) -> tuple[tuple[int, int], ...]:
    """When each file was written and how long it is; zeros where it cannot be looked at."""
    found = []
    for path in paths:
        try:
            seen = path.stat()
            found.append((seen.st_mtime_ns, seen.st_size))
        except OSError:
            found.append((0, 0))
    return tuple(found)
