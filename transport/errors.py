"""Errors of the network edge.

IsthmusError                      protocol.errors
└── TransportError                base of this room (exit code 4)
    ├── AddressInUse              another program listens there
    ├── AddressUnusable           the address cannot be bound for another reason
    ├── InsecureBinding           listening beyond loopback without certificates
    ├── InsecureDial              calling beyond loopback without them
    ├── ExtraMissing              a setting needs a library that is not installed
    ├── NameUnusable              a name that cannot stand in a broker's topics
    ├── CertificateUnusable       a TLS file cannot be read, or is no certificate or key
    ├── AuthorityUnusable         a folder holds no certificate authority, or cannot be written
    ├── EnrolmentRefused          a token or request is not good; the device is told
    ├── EnrolmentFailed           this device got no certificate
    ├── BrokerUnreachable         no connection to an MQTT broker, or it broke (exit code 5)
    ├── Unanswered                a command to a caller got no reply (exit code 5)
    └── NotReady                  a frame was offered while no stream, or no credit, was there (exit code 5)
"""

from __future__ import annotations

import errno

from protocol.errors import IsthmusError


class TransportError(IsthmusError):
    """Base of all errors of this room."""

    exit_code = 4


class AddressInUse(TransportError):
    """Another program listens at the address. For a person to read."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(
            f"port {port} on {host} is in use by another program; stop that program, or set listen.port to a free "
            "port (0 lets the system pick one)"
        )


class AddressUnusable(TransportError):
    """The address cannot be bound: it is not this machine's, or needs a privilege. For a person to read."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(
            f"cannot listen on {host} port {port}: {reason}; set listen.host and listen.port to an "
            "address of this machine"
        )


def address_error(host: str, port: int, reason: OSError) -> AddressInUse | AddressUnusable:
    """Why an address cannot be bound, as the system says it."""
    if reason.errno == errno.EADDRINUSE:
        return AddressInUse(host, port)
    return AddressUnusable(host, port, reason.strerror or str(reason))


class InsecureBinding(TransportError):
    """Listening beyond loopback without a certificate and a client CA. For a person to read."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"listening on {host} without TLS would let anyone who reaches it use this tier; set listen.host to "
            '"127.0.0.1", or add these lines to the configuration: [listen.tls] certificate = "tier.pem" '
            'key = "tier.key" client_ca = "devices-ca.pem"'
        )


class InsecureDial(TransportError):
    """Calling beyond loopback without TLS. For a person to read."""

    def __init__(self, target: str) -> None:
        super().__init__(
            f"calling {target} without TLS would show features to whoever holds the link, and a tier there would not "
            'answer; add to the table of that tier: [NAME.tls] ca = "ca.pem" certificate = "device.pem" '
            'key = "device.key" (made by: isthmus enroll device)'
        )


class ExtraMissing(TransportError):
    """A setting needs a library that is not installed. For a person to read."""

    def __init__(self, library: str, extra: str, needed: str = "datagrams need") -> None:
        super().__init__(f"{library} is not installed, which {needed}; install it with: pip install isthmus[{extra}]")


class NameUnusable(TransportError):
    """A name of a device, worker or group cannot stand in a topic. For a person to read."""


class CertificateUnusable(TransportError):
    """A TLS file cannot be read, or holds no certificate or key. For a person to read."""

    def __init__(self, key: str, path: str, reason: str) -> None:
        super().__init__(f"{key} = {path!r} cannot be used: {reason}; name a readable PEM file")


class AuthorityUnusable(TransportError):
    """A folder holds no certificate authority, or cannot be written. For a person to read."""

    def __init__(self, folder: str, reason: str) -> None:
        super().__init__(
            f"the authority in {folder!r} cannot be used: {reason}; make one with: isthmus enroll authority"
        )


class EnrolmentRefused(TransportError):
    """A token or a signing request is not good. The sentence may be sent to whoever asked."""


class EnrolmentFailed(TransportError):
    """This device got no certificate. For a person to read."""


class BrokerUnreachable(TransportError):
    """There is no connection to a broker, or it broke before the answer. For a person to read."""

    exit_code = 5

    def __init__(self, target: str, reason: str) -> None:
        super().__init__(f"the broker at {target} cannot be used: {reason}; see that it runs and lets this name in")


class Unanswered(TransportError):
    """A caller did not reply to a command in time. It may have obeyed; ask again only for what may be done twice."""

    exit_code = 5

    def __init__(self, caller: str, timeout_s: float) -> None:
        super().__init__(
            f"{caller} did not reply within {timeout_s:g} s; it is not connected, or busy: see its capabilities"
        )


class NotReady(TransportError):
    """No stream is up, or every credit is in use. The caller should have looked; choose another way for the frame."""

    exit_code = 5
