"""The calling end: keeps one stream to a tier alive, and says what becomes of each frame."""

from __future__ import annotations

import asyncio
import logging
import math
import random as _random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Final, NamedTuple, Self

from protocol.errors import RemoteProtocolError
from protocol.events import ClientEvent as SessionEvent
from protocol.events import Progressed, StreamRefused
from protocol.limits import MAX_FILLER_BYTES
from protocol.messages import Frame, Hello, Result, Welcome
from protocol.session import ClientSession
from transport.background import ended
from transport.connecting import connector_for
from transport.errors import NotReady
from transport.events import Answered, ClientEvent, Lost, Refused, Welcomed
from transport.seam import Connector, Outgoing, Stream, StreamEnded
from transport.settings import Dial
from transport.uplink import Uplink
from transport.window import Window

FRAMING_BYTES: Final = 14
"""gRPC's prefix (5) and one HTTP/2 frame header (9) around a message."""

_BARE_PROBE_BYTES: Final = FRAMING_BYTES + 12
"""About what a probe takes beside its filler."""
_CLOSED: Final = "closed by this side"

_log = logging.getLogger(__name__)


class State(StrEnum):
    """Where a client stands; `FrameClient.reason` tells why."""

    CONNECTING = "connecting"
    READY = "ready"
    REFUSED = "refused"
    """The tier answered and turned the stream away. It is tried again like an unreachable one."""
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Reconnection:
    """Times of the attempts to reach a tier, in seconds."""

    attempt_s: float = 5.0
    """For a connection and the tier's welcome together."""
    first_delay_s: float = 0.1
    longest_delay_s: float = 1.0
    """Delays double from the first to this; each is shortened by up to half at random, so that a fleet spreads out."""


_RECONNECTION: Final = Reconnection()


class Shortened(NamedTuple):
    """A frame that is cut short: bytes that it puts on the link now, framing included, and those taken back."""

    message_bytes: int
    taken_back: int


class _TurnedAway(Exception):
    """The tier ended the stream and said why."""


class FrameClient:
    """Keeps one stream alive: connects, greets, reconnects for ever, each time over a fresh connection.

    All methods belong to the event loop's thread. A silent link is not declared dead: `Lost` reports streams that
    broke, and how long to wait for an answer is the owner's decision.

    Args:
        dial: the tier's address and our credentials.
        hello: first message of each stream.
        on_event: called in the event loop with each event; must not block and must not raise.
        random: uniform in [0, 1), for the jitter.
        sleep: waits between attempts.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        dial: Dial,
        hello: Hello,
        on_event: Callable[[ClientEvent], None],
        *,
        reconnection: Reconnection = _RECONNECTION,
        random: Callable[[], float] = _random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.target = dial.target
        self.state = State.CONNECTING
        self.reason = "not connected yet"
        self.welcome: Welcome | None = None
        self._connector: Connector = connector_for(dial, hello.sender, clock)
        self._hello = hello
        self._on_event = on_event
        self._times = reconnection
        self._random = random
        self._sleep = sleep
        self._clock = clock
        self._session = ClientSession(hello)
        self._window = Window()
        self._uplink = Uplink(self._window, clock)
        self._task: asyncio.Task[None] | None = None
        self._welcomed = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether a stream is up."""
        return self.state is State.READY

    @property
    def credits_left(self) -> int:
        """Frames that may be sent now; 0 while not ready."""
        return self._session.credits_left if self.ready else 0

    @property
    def in_flight(self) -> frozenset[int]:
        """Ids of frames that were sent and have no end yet."""
        return frozenset(self._session.in_flight) if self.ready else frozenset()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def start(self) -> None:
        """Begin to connect, in the background."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._keep_alive(), name=f"frames to {self.target}")

    async def close(self) -> None:
        """End the stream and stop reconnecting. Frames still in flight are reported lost."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self.state, self.reason = State.CLOSED, _CLOSED

    async def ended(self) -> None:
        """Return when it connects no more, after `close`; or raise what broke it, which is a defect."""
        await ended(self._task)

    async def until_ready(self) -> None:
        """Return as soon as a stream is up. Waits for ever where none ever is: put a timeout around it."""
        await self._welcomed.wait()

    def send(self, frame: Frame) -> int:
        """Send a frame, without waiting. What is due earlier goes first, even between the parts of a long frame.

        Returns:
            Bytes that this puts on the link, framing included.

        Raises:
            NotReady: no stream or no credit; look at `ready` and `credits_left` first.
            LocalProtocolError: the id is in flight already, or the frame is outside the limits.
        """
        if self.state is not State.READY:
            raise NotReady(f"the tier at {self.target} is not connected ({self.reason}); send the frame elsewhere")
        if self._session.credits_left < 1:
            raise NotReady(f"the tier at {self.target} owes an answer for every credit; send the frame elsewhere")
        head = self._session.begin_frame(frame)
        now_s = self._clock()
        self._uplink.put_frame(frame.id, head, frame.payload, now_s, now_s + 1e-6 * frame.remaining_us)
        return len(head) + len(frame.payload) + FRAMING_BYTES

    def cancel(self, frame_id: int) -> bool:
        """Say that an answer is no longer wanted.

        Returns:
            True if the frame had not left yet, at least not all of it: it is withdrawn and no event follows. False if
            it had: the tier is told, and one event still ends the frame. Also False for a frame that is not in flight.
        """
        if not self.ready or frame_id not in self._uplink:
            return False
        written = self._uplink.withdraw(frame_id)
        if written != 0:
            self._uplink.put(self._session.cancel(frame_id))
        if written is None:
            return False
        self._session.withdraw(frame_id)
        return True

    def written(self, frame_id: int) -> float:
        """How many bytes of a frame's message have left this side; infinite where nothing more of it will."""
        return self._uplink.written(frame_id) if self.ready else math.inf

    def shorten(self, frame_id: int, payload_bytes: int) -> Shortened | None:
        """Let only the front of a frame's payload leave: so many bytes, or what has left already.

        Returns:
            What became of it; None if it goes as it is: nothing more of it waits here, or this tier reads whole frames
            only. The tier answers it, or refuses it, as any other.
        """
        shortened = self._uplink.shorten(frame_id, payload_bytes) if self.ready else None
        if shortened is None:
            return None
        before, now = shortened
        return Shortened(now + FRAMING_BYTES, before - now)

    def probe(self, probe_id: int, size: int = 0) -> int:
        """Send a probe, which comes back as `Probed`, much shorter; returns its bytes on the link.

        Args:
            size: how many bytes that shall be, about: none fewer than a bare probe and none beyond 4 KiB.

        Raises:
            NotReady: no stream is up.
        """
        if not self.ready:
            raise NotReady(f"the tier at {self.target} is not connected ({self.reason}); probe it when it is")
        data = self._session.probe(probe_id, bytes(min(max(size - _BARE_PROBE_BYTES, 0), MAX_FILLER_BYTES)))
        self._uplink.put(data)
        return len(data) + FRAMING_BYTES

    async def _keep_alive(self) -> None:
        delay = self._times.first_delay_s
        while True:
            if await self._one_stream():
                delay = self._times.first_delay_s
            await self._sleep(delay * (1.0 - 0.5 * self._random()))
            delay = min(2.0 * delay, self._times.longest_delay_s)

    async def _one_stream(self) -> bool:
        """Connect, converse until the stream ends, clean up; whether it was ever ready."""
        state, reason = State.CONNECTING, _CLOSED
        self._session = ClientSession(self._hello)
        self._window = Window()
        self._uplink = Uplink(self._window, self._clock)
        try:
            async with AsyncExitStack() as opened:
                async with asyncio.timeout(self._times.attempt_s):
                    stream = await opened.enter_async_context(self._connector.open())
                    await self._greet(stream)
                await self._converse(stream)
        except TimeoutError:
            reason = f"no welcome within {self._times.attempt_s:g} s"
        except StreamEnded as exc:
            reason = str(exc)
        except _TurnedAway as exc:
            state, reason = State.REFUSED, str(exc)
        except RemoteProtocolError as exc:
            reason = f"the tier broke the protocol: {exc}"
        finally:
            was_ready = self._end(state, reason)
        return was_ready

    async def _greet(self, stream: Stream) -> None:
        """Say hello, and take in the tier's welcome."""
        self._uplink.most_bytes, self._uplink.whole_bytes = stream.most_bytes, stream.whole_bytes
        await stream.write([Outgoing(self._session.start())])
        while not self.ready:
            self._take(await stream.read())

    async def _converse(self, stream: Stream) -> None:
        """Read and write until either side ends; always raises."""
        both = [
            asyncio.create_task(self._read(stream), name=f"reader from {self.target}"),
            asyncio.create_task(self._write(stream), name=f"writer to {self.target}"),
        ]
        try:
            ended, _ = await asyncio.wait(both, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in both:
                task.cancel()
            await asyncio.wait(both)
        for task in ended:
            task.result()

    async def _read(self, stream: Stream) -> None:
        while True:
            self._take(await stream.read())

    def _take(self, messages: Sequence[bytes]) -> None:
        if not messages:
            raise StreamEnded("the tier ended the stream")
        for message in messages:
            for event in self._session.receive(message):
                self._react(event)

    async def _write(self, stream: Stream) -> None:
        while True:
            messages = await self._uplink.take()
            try:
                await stream.write(messages)
            except StreamEnded:
                return  # the reader learns why

    def _react(self, event: SessionEvent) -> None:
        match event:
            case Answered(result):
                self._learn(result)
                self._on_event(event)
            case Welcomed(welcome):
                self.welcome, self.state, self.reason = welcome, State.READY, ""
                self._uplink.in_parts = self._session.takes_chunks
                self._uplink.takes_fronts = self._session.takes_fronts
                self._welcomed.set()
                _log.info("tier %s at %s is ready", welcome.tier, self.target)
                self._on_event(event)
            case StreamRefused(refusal, _):
                self._on_event(Refused(refusal))
                raise _TurnedAway(f"the tier refused the stream ({refusal.code.name.lower()}): {refusal.detail}")
            case Progressed(count):
                self._window.received(count, self._clock())
                self._uplink.wake()
            case Refused(refusal):
                self._uplink.ended(refusal.id)
                self._on_event(event)
            case _:
                self._on_event(event)

    def _learn(self, result: Result) -> None:
        """What an answer says about the link."""
        frame = self._uplink.ended(result.id)
        if frame is not None and frame.whole:
            now_s = self._clock()
            self._window.answered(frame.size, now_s - frame.put_s - 1e-6 * result.timings.total_us, now_s)

    def _end(self, state: State, reason: str) -> bool:
        """Leave the stream; whether it was ready."""
        was_ready, lost = self.ready, tuple(sorted(self.in_flight))
        self._session.close()
        self._welcomed.clear()
        if reason != _CLOSED and (was_ready or reason != self.reason):
            _log.warning("tier at %s: %s", self.target, reason)
        self.state, self.reason, self.welcome = state, reason, None
        if was_ready:
            self._on_event(Lost(lost, reason))
        return was_ready
