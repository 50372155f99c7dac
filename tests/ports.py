"""Ports that stay ours while nobody listens on them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def reserved_port() -> Iterator[int]:
    """A TCP port on which nobody listens until a program of ours does, which may: where both set SO_REUSEADDR, as gRPC,
    asyncio and mosquitto do, a port can be bound twice while nobody listens on it.

    It is bound all the while, so that nobody else is given it in between.
    """
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]
