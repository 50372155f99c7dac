"""`host:port`: how a program that listens is named, and the one place where that is read and written."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, Field

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_WRITE = "write host:port, as in edge.local:7070"


class Address(NamedTuple):
    """Where a program listens: a name or an IP address (IPv6 without brackets), and a port from 1 to 65535."""

    host: str
    port: int

    @classmethod
    def read(cls, text: str) -> Address:
        """Take `host:port` apart; an IPv6 address stands in brackets there.

        Raises:
            ValueError: it is none; says why, and how to write it.
        """
        host, colon, port = text.rpartition(":")
        in_brackets = host.startswith("[") and host.endswith("]")
        if "/" in text:
            raise ValueError(f"it is a URL or a path; {_WRITE}")
        if ":" in host and not in_brackets:
            raise ValueError("an IPv6 address stands in brackets; write it as in [::1]:7070")
        if not colon:
            raise ValueError(f"it has no port; {_WRITE}")
        if not (port.isascii() and port.isdecimal() and len(port) <= 5 and 1 <= int(port) <= 65535):
            raise ValueError(f"its port {port!r} is no number from 1 to 65535; {_WRITE}")
        if not (_is_ipv6(host[1:-1]) if in_brackets else _NAME.fullmatch(host)):
            raise ValueError(f"its host {host!r} is no name and no IP address; {_WRITE}")
        return cls(host[1:-1] if in_brackets else host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_near(self) -> bool:
        """Whether it is on this machine."""
        return is_loopback(self.host)


def _whole(text: str) -> str:
    Address.read(text)
    return text


Target = Annotated[
    str,
    Field(json_schema_extra={"pattern": r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$"}),
    AfterValidator(_whole),
]
"""A setting that is `host:port`; the pattern is for editors."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`. A name other than "localhost" counts as reachable by others."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def names_loopback(header: str) -> bool:
    """Whether an HTTP request's `Host`, which may leave its port out, names this machine.

    Another name is a web page's, whose name server says that it is here: such a request is not to be served.
    """
    host, _, port = header.rpartition(":")
    return is_loopback((host if port.isdecimal() else header).strip("[]"))


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False
