"""One connection through the link: two sockets, and in each direction the bytes that are under way."""

from __future__ import annotations

import math
import socket
from collections import deque

from testbed.link.bottleneck import Bottleneck
from testbed.link.capacity import PACKET_BYTES
from testbed.link.weather import Weather

_READ_BYTES = 6000
"""Read from one connection before the next has its turn."""

_UNDER_WAY = 4096
"""Packets of one flow between bottleneck and arrival; while there are more, nothing is read. Only a stall makes so many
wait there: its bound is here, because the queue's bound is in front of the bottleneck."""


class Flow:
    """One direction of a connection: what is read from `source` reaches `sink` when the link has carried it.

    Args:
        bottleneck: the queue that all flows of this direction share.
        extra_delay_s: of this forward, one way.
        weather: conditions of this direction of this forward.
    """

    def __init__(
        self,
        source: socket.socket,
        sink: socket.socket,
        bottleneck: Bottleneck,
        extra_delay_s: float,
        weather: Weather,
    ) -> None:
        self.source = source
        self.sink = sink
        self.bottleneck = bottleneck
        self.delivered_bytes = 0
        self.source_ended = False
        self.finished = False
        """The end of the source has been passed on."""
        self._delay_s = bottleneck.delay_s + extra_delay_s
        self._weather = weather
        self._latest_s = -math.inf
        self._under_way: deque[tuple[float, bytes]] = deque()  # (when it arrives, bytes); no bytes are the end
        self._outgoing = b""  # arrived, but the sink did not take it yet

    @property
    def blocked(self) -> bool:
        """The receiver does not read: nothing more enters the link for it."""
        return bool(self._outgoing)

    @property
    def next_arrival_s(self) -> float:
        """When there is something to hand over next; infinite if nothing comes or the sink is blocked."""
        return math.inf if self.blocked or not self._under_way else self._under_way[0][0]

    @property
    def closed(self) -> bool:
        """The connection has been given up."""
        return self.source.fileno() < 0

    @property
    def crowded(self) -> bool:
        """So much has left the bottleneck and not arrived that nothing more is to be read."""
        return len(self._under_way) >= _UNDER_WAY

    def read(self, now_s: float, ready_s: float, room: int) -> None:
        """Take what the source has, at most `room` bytes, and book it.

        Raises:
            OSError: the source's peer reset the connection.
        """
        try:
            data = self.source.recv(min(room, _READ_BYTES))
        except (BlockingIOError, InterruptedError):
            return
        if not data:
            self.source_ended = True
            self._under_way.append((self._arrival(self.bottleneck.enter(now_s, 0)), b""))
        for start in range(0, len(data), PACKET_BYTES):
            packet = data[start : start + PACKET_BYTES]
            self._under_way.append((self._arrival(self.bottleneck.enter(ready_s, len(packet))), packet))

    def deliver(self, now_s: float) -> int:
        """Hand over what has arrived; returns the bytes that the sink took.

        Raises:
            OSError: the sink's peer is gone.
        """
        arrived = [self._outgoing] if self._outgoing else []
        at_end = False
        while self._under_way and self._under_way[0][0] <= now_s:
            packet = self._under_way.popleft()[1]
            arrived.append(packet)
            at_end = not packet
        self._outgoing = b"".join(arrived)
        taken = self._send()
        if at_end and self._outgoing:
            self._under_way.append((now_s, b""))
        elif at_end:
            self.sink.shutdown(socket.SHUT_WR)
            self.finished = True
        return taken

    def _arrival(self, left_s: float) -> float:
        """When what left the bottleneck arrives: after the delay and the weather, never before what is ahead of it."""
        self._latest_s = max(self._latest_s, self._weather.arrival(left_s + self._delay_s))
        return self._latest_s

    def _send(self) -> int:
        if not self._outgoing:
            return 0
        try:
            taken = self.sink.send(self._outgoing)
        except (BlockingIOError, InterruptedError):
            return 0
        self._outgoing = self._outgoing[taken:]
        return taken


class Connection:
    """A client, a target, and the two flows between them; `weather` is that of the way up and of the way down."""

    def __init__(
        self,
        client: socket.socket,
        target: socket.socket,
        uplink: Bottleneck,
        downlink: Bottleneck,
        extra_delay_s: float,
        weather: tuple[Weather, Weather],
        forward: str,
    ) -> None:
        self.forward = forward
        self.client = client
        self.target = target
        self.connected = False
        self.up = Flow(client, target, uplink, extra_delay_s, weather[0])
        self.down = Flow(target, client, downlink, extra_delay_s, weather[1])

    @property
    def flows(self) -> tuple[Flow, Flow]:
        return self.up, self.down
