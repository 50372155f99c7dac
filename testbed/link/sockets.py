"""Sockets of the link: bounded buffers, small segments, no waiting, and endings that look like the real ones."""

from __future__ import annotations

import socket
import struct

from testbed.errors import AddressError

BUFFER_BYTES = 4096
"""What each socket of the link may hold at least; the kernel keeps twice that for its own bookkeeping."""

_SEGMENT_BYTES = 1448
"""Loopback's own 64 KiB segments are larger than our windows, and TCP would wait instead of filling them."""

_BACKLOG = 64


def listen(port: int, host: str = "127.0.0.1", buffer_bytes: int = BUFFER_BYTES) -> socket.socket:
    """A listening socket whose connections will have buffers of this size.

    Raises:
        AddressError: the port is taken.
    """
    listener = _made(socket.AF_INET, buffer_bytes)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as exc:
        listener.close()
        raise AddressError(
            f"the link cannot listen on {host} port {port}: {exc.strerror}; choose another, or 0"
        ) from exc
    listener.listen(_BACKLOG)
    return listener


def resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """The address of a target, IPv4 first.

    Raises:
        AddressError: the name cannot be resolved.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as exc:
        raise AddressError(f"target host {host!r} cannot be resolved: {exc}; check its name") from exc
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return family, (str(address[0]), int(address[1]))


def connect(family: socket.AddressFamily, address: tuple[str, int], buffer_bytes: int = BUFFER_BYTES) -> socket.socket:
    """A socket on its way to the target; it becomes writable when it is there, or has failed (`SO_ERROR`)."""
    connecting = _made(family, buffer_bytes)
    connecting.connect_ex(address)
    return connecting


def accepted(connection: socket.socket) -> socket.socket:
    """Make a freshly accepted socket like the others."""
    _tune(connection)
    return connection


def reset(connection: socket.socket) -> None:
    """Close at once; the peer sees a reset, not an end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def _made(family: socket.AddressFamily, buffer_bytes: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT_BYTES)
    _tune(made)
    return made


def _tune(made: socket.socket) -> None:
    made.setblocking(False)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_CONGESTION"):
        # BBR, the default on some machines, paces by its own estimate; the only pacing here is to be the link's.
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
