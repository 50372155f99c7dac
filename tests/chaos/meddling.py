"""Two programs in the middle that deliver twice and out of order: one for MQTT, one for UDP.

    python -m tests.chaos.meddling mqtt|udp TARGET_PORT SEED

MQTT: of the messages of QoS 1 that a client publishes some go twice (as a sender does that missed the acknowledgement),
and some that are not retained go behind the next one. UDP: datagrams are doubled, held back and, as UDP may, dropped.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

TWICE: Final = 0.15
LATER: Final = 0.15
DROPPED: Final = 0.05
"""Of datagrams."""
LATER_S: Final = 0.05
"""What is held back leaves after so long at the latest."""
_PUBLISH: Final = 3
_DUPLICATE: Final = 0x08


async def _packets(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """MQTT control packets, until the connection ends."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = bytearray(await reader.readexactly(1))
            length = shift = 0
            while True:
                head += await reader.readexactly(1)
                length |= (head[-1] & 0x7F) << shift
                shift += 7
                if head[-1] < 0x80:
                    break
            yield bytes(head) + await reader.readexactly(length)


class _Upwards:
    """From a client to the broker."""

    def __init__(self, writer: asyncio.StreamWriter, chance: random.Random) -> None:
        self._writer = writer
        self._chance = chance
        self._held: list[bytes] = []

    def take(self, packet: bytes) -> None:
        is_message = packet[0] >> 4 == _PUBLISH and packet[0] >> 1 & 3 == 1
        if is_message and not packet[0] & 1 and self._chance.random() < LATER:
            self._held.append(packet)
            asyncio.get_running_loop().call_later(LATER_S, self._let_go)
            return
        self._writer.write(packet)
        if is_message and self._chance.random() < TWICE:
            self._writer.write(bytes([packet[0] | _DUPLICATE]) + packet[1:])
        self._let_go()

    def _let_go(self) -> None:
        held, self._held = self._held, []
        for packet in held:
            self._writer.write(packet)


async def _client(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: int, chance: random.Random
) -> None:
    """One connection of a client, and its own to the broker; where one ends, so does the other."""
    try:
        above, to_above = await asyncio.open_connection("127.0.0.1", target)
    except ConnectionError:
        writer.close()
        return

    async def up() -> None:
        upwards = _Upwards(to_above, chance)
        async for packet in _packets(reader):
            upwards.take(packet)

    async def down() -> None:
        with suppress(ConnectionError):
            while data := await above.read(65536):
                writer.write(data)

    ways = [asyncio.create_task(up()), asyncio.create_task(down())]
    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    for way in ways:
        way.cancel()
    await asyncio.wait(ways)
    to_above.close()
    writer.close()


class _Side(asyncio.DatagramProtocol):
    """One socket; what comes is passed to another one, or not, or twice, or later."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport)
        self.transport = transport

    def error_received(self, exc: OSError) -> None:
        """Nobody listens there now; datagrams are lost as on any way."""

    def pass_on(self, data: bytes, to: asyncio.DatagramTransport, address: tuple[str, int] | None) -> None:
        loop, drawn = asyncio.get_running_loop(), self._chance.random()
        if drawn < DROPPED:
            return
        if drawn < DROPPED + LATER:
            loop.call_later(self._chance.uniform(0, LATER_S), to.sendto, data, address)
            return
        to.sendto(data, address)
        if drawn < DROPPED + LATER + TWICE:
            to.sendto(data, address)


class _Near(_Side):
    """Faces the clients: each gets a socket of its own towards the target."""

    def __init__(self, target: int, chance: random.Random) -> None:
        super().__init__(chance)
        self._target = target
        self._far: dict[tuple[str, int], asyncio.Future[_Far]] = {}

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        if address not in self._far:
            self._far[address] = asyncio.ensure_future(self._open(address))
        self._far[address].add_done_callback(lambda far: self.pass_on(data, far.result().transport, None))

    async def _open(self, address: tuple[str, int]) -> _Far:
        _, far = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Far(self, address, self._chance), remote_addr=("127.0.0.1", self._target)
        )
        return far


class _Far(_Side):
    """Faces the target, for one client."""

    def __init__(self, near: _Near, address: tuple[str, int], chance: random.Random) -> None:
        super().__init__(chance)
        self._near = near
        self._address = address

    def datagram_received(self, data: bytes, _: tuple[str, int]) -> None:
        self.pass_on(data, self._near.transport, self._address)


async def main(kind: str, target: int, seed: int) -> None:
    """Meddle until killed."""
    chance = random.Random(seed)
    if kind == "mqtt":
        server = await asyncio.start_server(lambda *ends: _client(*ends, target, chance), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
    else:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Near(target, chance), local_addr=("127.0.0.1", 0)
        )
        port = transport.get_extra_info("sockname")[1]
    print(json.dumps({"event": "ready", "port": port}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
