"""Frames of several packets over datagrams of which some never come: answered in time from those that did."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("aioquic", reason="the extra quic is not installed")

from protocol import packets
from protocol.fragments import Fragment, decode_datagram
from protocol.messages import Frame, Refusal, decode_downward, decode_upward, encode_upward
from tests.protocol.samples import laplace, sample
from tests.transport.callers import frame
from transport.datagram_stream import DatagramStream
from transport.seam import Outgoing

TABLES, POSITIONS = laplace(4, seed=1, reach=6), 64
PACKETS = packets.split(sample(TABLES, POSITIONS, seed=3), TABLES, 3)


class End:
    """One end of a way on which fragments of some messages are lost for ever; in place of a `QuicEnd`."""

    def __init__(self, loses: Callable[[Fragment], bool]) -> None:
        self.other: End | None = None
        self._loses = loses
        self._arrived: asyncio.Queue[Any] = asyncio.Queue()

    async def read(self) -> Any:
        return await self._arrived.get()

    def read_now(self) -> Any:
        return None if self._arrived.empty() else self._arrived.get_nowait()

    def send_datagrams(self, datagrams: list[bytes]) -> None:
        assert self.other is not None
        for datagram in datagrams:
            found = decode_datagram(datagram)
            if not (isinstance(found, Fragment) and self._loses(found)):
                self.other._arrived.put_nowait(datagram)

    put_before_others = send_datagrams

    def send_record(self, number: int, message: bytes) -> None:
        assert self.other is not None
        self.other._arrived.put_nowait((number, message))

    def tell(self, record: tuple[int, bytes]) -> None:
        self._arrived.put_nowait(record)

    def transmit(self) -> None: ...

    def take_back(self, _: object) -> int:
        return 0

    def waits(self, _: bytes) -> bool:
        return False

    async def room(self) -> None: ...


def ends(loses: Callable[[Fragment], bool]) -> tuple[DatagramStream, DatagramStream]:
    near, far = End(loses), End(lambda _: False)
    near.other, far.other = far, near
    clock = asyncio.get_running_loop().time
    return DatagramStream(near, "caller", clock), DatagramStream(far, "tier", clock)  # type: ignore[arg-type]


async def sent(caller: DatagramStream, remaining_s: float) -> Frame:
    made = frame(7, packets.together(PACKETS), remaining_us=int(1e6 * remaining_s))
    await caller.write([Outgoing(encode_upward(made), asyncio.get_running_loop().time() + remaining_s)])
    return made


async def arrived(tier: DatagramStream) -> Frame:
    async with asyncio.timeout(20):
        (message,) = await tier.read()
    found = decode_upward(message)
    assert isinstance(found, Frame)
    found.verify()
    return found


async def test_what_arrives_of_a_frame_is_answered_within_its_time() -> None:
    caller, tier = ends(lambda fragment: fragment.number == 2)
    made = await sent(caller, 0.4)
    found = await arrived(tier)
    assert packets.apart(found.payload) == [PACKETS[0], PACKETS[2]]
    assert 0 < found.remaining_us <= made.remaining_us / 2
    symbols, known = packets.join([PACKETS[0], PACKETS[2]], TABLES, POSITIONS)
    whole, _ = packets.join(PACKETS, TABLES, POSITIONS)
    assert (symbols[known] == whole[known]).all()
    assert 0.5 < known.mean() < 0.8
    for stream in (caller, tier):
        stream.close()


async def test_a_packet_that_is_lost_once_is_sent_again_where_there_is_time() -> None:
    lost = []

    def loses_once(fragment: Fragment) -> bool:
        if fragment.number != 2 or lost:
            return False
        lost.append(fragment)
        return True

    caller, tier = ends(loses_once)
    reading = asyncio.create_task(caller.read())
    await sent(caller, 30.0)
    assert packets.apart((await arrived(tier)).payload) == PACKETS
    assert lost
    reading.cancel()
    for stream in (caller, tier):
        stream.close()


async def test_a_frame_of_which_nothing_comes_is_refused_once() -> None:
    caller, tier = ends(lambda _: True)
    await sent(caller, 0.1)
    async with asyncio.timeout(20):
        (message,) = await caller.read()
    refusal = decode_downward(message)
    assert isinstance(refusal, Refusal)
    assert refusal.id == 7
    assert caller._end.read_now() is None
    for stream in (caller, tier):
        stream.close()
