"""The packets between two TUN devices, in real time."""

from __future__ import annotations

import asyncio
import errno
import math
import os
import selectors
from dataclasses import asdict, dataclass
from typing import Final

from testbed.packets.packet import Packet
from testbed.packets.path import PacketPath

_MOST_BYTES: Final = 65536
_AT_ONCE: Final = 64
"""Packets read before the others get their turn."""


def punctual_loop() -> asyncio.AbstractEventLoop:
    """An event loop whose timers have microseconds: `epoll`'s have milliseconds, and are up to one late each time."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


@dataclass(slots=True)
class Count:
    """What came into one direction, and what came out."""

    entered: int = 0
    entered_bytes: int = 0
    arrived: int = 0
    arrived_bytes: int = 0

    def as_object(self) -> dict[str, int]:
        return asdict(self)


class Lane:
    """One direction, in the running event loop. Only IPv4 passes.

    Args:
        source: descriptor that the packets are read from; it must not block.
        sink: descriptor that they are written to.
        path: what befalls them between.
    """

    def __init__(self, source: int, sink: int, path: PacketPath) -> None:
        self.count = Count()
        self._source = source
        self._sink = sink
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._loop.add_reader(source, self._read)

    def close(self) -> None:
        """Carry nothing any more; what is on its way is lost."""
        self._loop.remove_reader(self._source)
        if self._timer is not None:
            self._timer.cancel()

    def _read(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                data = os.read(self._source, _MOST_BYTES)
            except BlockingIOError:
                break
            if data[:1] and data[0] >> 4 == 4:
                self.count.entered += 1
                self.count.entered_bytes += len(data)
                self._path.enter(Packet(data, self._loop.time()))
        self._deliver()

    def _deliver(self) -> None:
        for packet in self._path.arrived(self._loop.time()):
            if self._written(packet.data):
                self.count.arrived += 1
                self.count.arrived_bytes += len(packet.data)
        self._arm(self._path.next_s)

    def _arm(self, due_s: float) -> None:
        if self._timer is not None:
            if self._timer.when() == due_s:
                return
            self._timer.cancel()
        self._timer = None if due_s == math.inf else self._loop.call_at(due_s, self._due)

    def _due(self) -> None:
        self._timer = None
        self._deliver()

    def _written(self, data: bytes) -> bool:
        """Whether the kernel took it; it takes none that is damaged in its header, nor any when it has no room."""
        try:
            os.write(self._sink, data)
        except OSError as exc:
            if exc.errno not in (errno.EAGAIN, errno.ENOBUFS, errno.EINVAL, errno.EIO):
                raise
            return False
        return True
