"""Asks a running program at its door for operators: plainly on this machine, over TLS elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from protocol.errors import IsthmusError

if TYPE_CHECKING:
    import http.client

    from transport.address import Address

TIMEOUT_S = 5.0

Tls = Annotated[
    Path | None,
    typer.Option("--tls", help="Folder of: isthmus enroll device, shown where the door has TLS.", show_default=False),
]


class NoAnswer(IsthmusError):
    """Nobody answers there, or not to us."""

    exit_code = 5


class BadDoor(IsthmusError):
    """No address, or files that are no certificate and key. For a person to correct."""

    exit_code = 2


def asked(at: str, path: str, tls: Path | None, hint: str) -> Any:
    """What lies at a path of a door, from JSON.

    Args:
        at: a port of this machine, or `host:port`.
        path: as `/status`.
        tls: folder with `ca.pem`, `device.pem` and `device.key`; None: no TLS, which only loopback has.
        hint: what to put into the program's configuration where nobody answers; `{port}` in it is the port.

    Raises:
        BadDoor: the address or a file cannot be used.
        NoAnswer: nobody answers, the certificates do not fit, or this one may not look.
    """
    import http.client
    import json

    address = _address(at)
    hint = hint.format(port=address.port)
    connection = _connection(address, tls)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status == http.client.OK:
            return json.loads(body)
    except (http.client.HTTPException, ValueError) as exc:
        raise NoAnswer(
            f"what answers at {address} is no such program: a wrong port, or it needs --tls; {hint}"
        ) from exc
    except OSError as exc:  # ssl's own errors among them
        raise NoAnswer(f"nobody answers at {address} ({exc}); {hint}") from exc
    finally:
        connection.close()
    if answer.status == http.client.NOT_FOUND:
        raise NoAnswer(f"what answers at {address} knows no {path}: it is another program's port; {hint}")
    raise NoAnswer(f"{address} answers {answer.status}: {body[:300].decode(errors='replace').strip()}")


def _address(at: str) -> Address:
    from transport.address import Address

    try:
        return Address.read(f"127.0.0.1:{at}" if at.isdecimal() else at)
    except ValueError as exc:
        raise BadDoor(f"{at!r} is no port of this machine, and no address: {exc}") from exc


def _connection(address: Address, tls: Path | None) -> http.client.HTTPConnection:
    import http.client
    import ssl

    host, port = address
    if tls is None:
        if not address.is_near:
            raise BadDoor(f"{host} is another machine, and its door has TLS; name your certificate with --tls FOLDER")
        return http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        context = ssl.create_default_context(cafile=str(tls / "ca.pem"))
        context.load_cert_chain(tls / "device.pem", tls / "device.key")
    except OSError as exc:
        raise BadDoor(
            f"ca.pem, device.pem and device.key in {str(tls)!r} cannot be used ({exc}); isthmus enroll device "
            "makes them"
        ) from exc
    return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)
