"""A datagram server around any handler, and a relay of UDP that loses what it is told to; on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from protocol.messages import Refusal, Result, Tensor
from tests.transport.callers import DIGEST
from transport.datagram_server import DatagramServer
from transport.server import Identity
from transport.settings import Dial, Listen
from transport.stream import Handler, Request

Loses = Callable[[bool, bytes], bool]
"""Whether a packet is lost: whether it goes up, and its bytes."""


async def payload_back(request: Request) -> Result | Refusal:
    """The payload is the answer."""
    frame = request.frame
    return Result(frame.id, (Tensor("echo", "uint8", frame.shape, frame.payload),), request.sender)


@asynccontextmanager
async def serving_quic(handler: Handler = payload_back, **options: Any) -> AsyncIterator[DatagramServer]:
    listen = options.pop("listen", Listen())
    server = DatagramServer(handler, listen, Identity("edge", lambda: (DIGEST,)), **options)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def near(port: int) -> Dial:
    return Dial(target=f"127.0.0.1:{port}", datagrams=True)


class _Relay(asyncio.DatagramProtocol):
    """One caller's packets to a port and back."""

    def __init__(self, port: int, loses: Loses) -> None:
        self._tier = ("127.0.0.1", port)
        self._loses = loses
        self._caller: Any = None
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        goes_up = address != self._tier
        if goes_up:
            self._caller = address
        if not self._loses(goes_up, data):
            self._transport.sendto(data, self._tier if goes_up else self._caller)


@asynccontextmanager
async def relay(port: int, loses: Loses) -> AsyncIterator[int]:
    """The port of a relay to another port."""
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Relay(port, loses), local_addr=("127.0.0.1", 0)
    )
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()
