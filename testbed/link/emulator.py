"""The emulated link: one loop that reads, books, waits for the right moment and hands over.

`select` is used because its timeouts have microseconds where epoll's have milliseconds. Everything is scheduled at
absolute times that follow from the bookings, so a late wake-up makes single bytes late but never changes the rate.
"""

from __future__ import annotations

import math
import select
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from testbed.errors import AddressError
from testbed.link.bottleneck import Bottleneck
from testbed.link.connection import Connection, Flow
from testbed.link.settings import DirectionSettings, ForwardSettings, Settings
from testbed.link.sockets import BUFFER_BYTES, accepted, connect, listen, reset, resolve
from testbed.link.weather import Breaks, Weather

Watched = socket.socket | int
"""What `select` can wait for."""

_SHORTEST_SLEEP_S = 0.0003
"""Arrivals closer together than this are handed over together: at 50 Mbit/s, one packet in 240 us."""

_BUFFER_SHARE = 256
"""A socket may hold this part of the queue, if that is more than the least: connections that cross a distance of their
own before they come here (network namespaces) need windows that span it."""

_MOST_CONNECTIONS = 200
"""Bound on connections at one time; `select` cannot watch more than 1024 sockets."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What has come out of the link so far, and what waits in it, in bytes."""

    up_bytes: int
    down_bytes: int
    up_queued_bytes: int
    down_queued_bytes: int


class Emulator:
    """One radio link with its forwards, listening from construction on.

    Args:
        clock: monotonic seconds.

    Raises:
        TraceError: a trace cannot be read.
        AddressError: a port is taken or a target's name unknown.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        queue_bytes = min(settings.uplink.queue_bytes, settings.downlink.queue_bytes)
        self._buffer_bytes = max(BUFFER_BYTES, queue_bytes // _BUFFER_SHARE)
        self._up = _bottleneck(settings.uplink)
        self._down = _bottleneck(settings.downlink)
        self._targets = [resolve(*forward.address) for forward in settings.forward]
        self._forwards: Sequence[ForwardSettings] = settings.forward
        self._weather = [_weather(settings, forward.name) for forward in settings.forward]
        self._breaks = Breaks(settings.condition)
        self._listeners: list[socket.socket] = []
        self._connections: list[Connection] = []
        self._turn = 0
        self._up_bytes = 0
        self._down_bytes = 0
        try:
            for forward in settings.forward:
                self._listeners.append(listen(forward.listen_port, forward.listen_host, self._buffer_bytes))
        except AddressError:
            self.close()
            raise

    @property
    def ports(self) -> dict[str, int]:
        """Name of each forward to the port it listens on."""
        return {
            forward.name: listener.getsockname()[1]
            for forward, listener in zip(self._forwards, self._listeners, strict=True)
        }

    @property
    def totals(self) -> Totals:
        return Totals(self._up_bytes, self._down_bytes, self._up.queued_bytes, self._down.queued_bytes)

    def start(self, now_s: float) -> None:
        """Play capacities and conditions from this moment; before it, only the delays applied."""
        self._up.start(now_s)
        self._down.start(now_s)
        self._breaks.start(now_s)
        for up, down in self._weather:
            up.start(now_s)
            down.start(now_s)

    def step(self, until_s: float, watched: Sequence[Watched] = ()) -> list[Watched]:
        """Do what is due, then wait until something is, but not beyond `until_s`.

        Args:
            watched: further sockets or descriptors that end the wait when they can be read.

        Returns:
            Those of `watched` that can be read.
        """
        self._deliver(self._clock())
        now_s = self._clock()
        self._break(now_s)
        wishes = self._wishes(now_s)
        wake_s = now_s if wishes.at_door else min(until_s, max(wishes.wake_s, now_s + _SHORTEST_SLEEP_S))
        readable, writable, _ = select.select(
            [*watched, *self._listeners, *wishes.reading], [*wishes.writing], [], max(wake_s - now_s, 0.0)
        )
        can_read = set(readable)
        for sock in writable:
            self._join(wishes.writing[sock])
        self._read([flow for sock, flow in wishes.reading.items() if sock in can_read])
        for bottleneck in wishes.at_door:
            bottleneck.was_full = not self._room(bottleneck, self._clock())
        for place, listener in enumerate(self._listeners):
            if listener in can_read:
                self._accept(listener, place)
        return [one for one in watched if one in can_read]

    def close(self) -> None:
        """Reset all connections and stop listening."""
        for connection in list(self._connections):
            self._abort(connection)
        for listener in self._listeners:
            listener.close()
        self._listeners = []

    def _room(self, bottleneck: Bottleneck, now_s: float) -> int:
        """Bytes that may enter; the socket buffers in front of it count as used, for all that we know."""
        return bottleneck.admits(now_s, self._buffer_bytes * len(self._connections))

    def _wishes(self, now_s: float) -> _Wishes:
        wishes = _Wishes(wake_s=self._breaks.next_s)
        is_open = {}
        for bottleneck in (self._up, self._down):
            is_open[bottleneck] = bool(self._room(bottleneck, now_s))
            if not is_open[bottleneck]:
                wishes.wake_s = min(wishes.wake_s, bottleneck.next_room_s)
            elif bottleneck.was_full:
                wishes.at_door.append(bottleneck)
        for connection in self._connections:
            if not connection.connected:
                wishes.writing[connection.target] = connection
                continue
            for flow in connection.flows:
                wishes.wake_s = min(wishes.wake_s, flow.next_arrival_s)
                if flow.blocked:
                    wishes.writing[flow.sink] = connection
                elif is_open[flow.bottleneck] and not flow.source_ended and not flow.crowded:
                    wishes.reading[flow.source] = flow
        return wishes

    def _accept(self, listener: socket.socket, place: int) -> None:
        """Take a connection to the forward at this place of the list."""
        try:
            client, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        if len(self._connections) >= _MOST_CONNECTIONS:
            reset(client)
            return
        target = connect(*self._targets[place], self._buffer_bytes)
        forward, weather = self._forwards[place], self._weather[place]
        self._connections.append(
            Connection(accepted(client), target, self._up, self._down, forward.extra_delay_s, weather, forward.name)
        )

    def _join(self, connection: Connection) -> None:
        """The target has answered: go on, or turn the client away as the target did."""
        if not connection.connected and connection.target.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._abort(connection)
        connection.connected = True

    def _read(self, flows: list[Flow]) -> None:
        """Read what came in, a little from each in turn, as long as there is room."""
        self._turn += 1
        turn = self._turn % max(len(flows), 1)
        for flow in flows[turn:] + flows[:turn]:
            if flow.closed:  # by what the flow beside it met in this turn
                continue
            now_s = self._clock()
            room = self._room(flow.bottleneck, now_s)
            if room:
                try:
                    flow.read(now_s, flow.bottleneck.ready_s(now_s), room)
                except OSError:  # reset by its peer: the other side is to see the same
                    self._abort(self._owner(flow))

    def _deliver(self, now_s: float) -> None:
        """Hand over all that has arrived by now."""
        for connection in list(self._connections):
            try:
                self._up_bytes += connection.up.deliver(now_s)
                self._down_bytes += connection.down.deliver(now_s)
            except OSError:  # the receiver is gone: the sender is to see it
                self._abort(connection)
            else:
                if connection.up.finished and connection.down.finished:
                    self._connections.remove(connection)
                    connection.client.close()
                    connection.target.close()

    def _break(self, now_s: float) -> None:
        """Reset the connections that a condition breaks now."""
        for forward in self._breaks.due(now_s):
            for connection in [one for one in self._connections if forward in (None, one.forward)]:
                self._abort(connection)

    def _owner(self, flow: Flow) -> Connection:
        return next(connection for connection in self._connections if flow in connection.flows)

    def _abort(self, connection: Connection) -> None:
        """Reset both ends; what was under way still takes its share of the link, as on a real one."""
        self._connections.remove(connection)
        reset(connection.client)
        reset(connection.target)


@dataclass(slots=True)
class _Wishes:
    """What one step would like to do next."""

    reading: dict[socket.socket, Flow] = field(default_factory=dict)
    writing: dict[socket.socket, Connection] = field(default_factory=dict)
    wake_s: float = math.inf
    at_door: list[Bottleneck] = field(default_factory=list)
    """Queues that were full and are not any more: what waited at their doors goes in before anything else."""


def _weather(settings: Settings, forward: str) -> tuple[Weather, Weather]:
    """Of the way up and the way down."""
    up, down = (
        Weather([one for one in settings.condition if one.concerns(direction, forward)]) for direction in ("up", "down")
    )
    return up, down


def _bottleneck(direction: DirectionSettings) -> Bottleneck:
    return Bottleneck(direction.capacity(), delay_s=direction.delay_s, queue_bytes=direction.queue_bytes)
