"""Whether the TLS files that the settings name can be used: before anything is sent."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from device.doctor.case import Case, Fault
from transport.settings import CallerTls

_CLIENT = x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH


async def certificates_are_good(case: Case) -> None:
    """Files are there and readable, key and certificate belong together, and all are valid now."""
    now = datetime.datetime.fromtimestamp(case.environment.wall(), datetime.UTC)
    for table, dial in case.tiers.items():
        if dial.tls is not None:
            dial.tls.credentials()
            _check(table, dial.tls, now)
    _check_makers(case)


def _check(table: str, tls: CallerTls, now: datetime.datetime) -> None:
    own = _certificate(f"{table}.tls.certificate", tls.certificate)
    authority = _certificate(f"{table}.tls.ca", tls.ca)
    _check_times(f"{table}.tls.certificate", own, now)
    _check_times(f"{table}.tls.ca", authority, now)
    try:
        key = serialization.load_pem_private_key(tls.key.read_bytes(), None)
    except (ValueError, TypeError) as exc:
        raise Fault(f"{table}.tls.key = {str(tls.key)!r} is no private key: {exc}", "enrol this device again") from exc
    if key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != own.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    ):
        raise Fault(
            f"{table}.tls.key does not belong to {table}.tls.certificate", "name the two files of one enrolment"
        )
    _check_purpose(table, own, authority)


def _check_times(key: str, certificate: x509.Certificate, now: datetime.datetime) -> None:
    if now > certificate.not_valid_after_utc:
        raise Fault(f"{key} expired on {certificate.not_valid_after_utc:%Y-%m-%d}", "enrol this device again")
    if now < certificate.not_valid_before_utc:
        raise Fault(
            f"{key} is valid only from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC and the clock says "
            f"{now:%Y-%m-%d %H:%M}",
            "set the clock, or wait",
        )


def _check_purpose(table: str, own: x509.Certificate, authority: x509.Certificate) -> None:
    try:
        purposes = own.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        purposes = None
    if purposes is not None and _CLIENT not in purposes:
        raise Fault(f"{table}.tls.certificate is not for a caller", "name the device's certificate, not a tier's")
    try:
        constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        constraints = None
    if constraints is None or not constraints.ca:
        raise Fault(f"{table}.tls.ca is no authority's certificate", "name the authority's file, ca.pem")


def _certificate(key: str, path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError as exc:
        raise Fault(f"{key} = {str(path)!r} holds no certificate: {exc}", "enrol this device again") from exc


def _check_makers(case: Case) -> None:
    """Tiers of other machines are called with certificates; makers' keys and the ledger can be read."""
    for dial in case.tiers.values():
        dial.require_safe()
    case.settings.trust.trust(exposed=not all(dial.is_near for dial in case.tiers.values()))
