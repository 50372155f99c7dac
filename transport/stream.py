"""One stream at a tier: reads, hands frames to the handler, writes answers in the order they are done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from protocol.errors import Code, LocalProtocolError, RemoteProtocolError
from protocol.limits import PACK_BYTES
from protocol.messages import Frame, Load, Refusal, Result
from protocol.session import (
    Cancelled,
    Faulty,
    FrameArrived,
    Greeted,
    Probed,
    Progressed,
    ServerEvent,
    ServerSession,
    State,
)
from transport.admission import Admission, Caller, TurnedAway
from transport.outbox import Outbox
from transport.seam import Outgoing, Stream

_log = logging.getLogger(__name__)

_UNSENT_LIMIT = 64
"""Replies to a peer that does not read; beyond these nothing more is read from it."""
_HELLO_TIMEOUT_S = 10.0
_LATE = "the frame's time had passed before it could be answered"
_CANCELLED = "the frame was cancelled by its sender"


@dataclass(frozen=True, slots=True)
class _Farewell:
    """The last message of a stream that this tier ends."""

    code: Code
    detail: str


_Reply = Result | Refusal | bytes | _Farewell


@dataclass(frozen=True, slots=True)
class Request:
    """A frame as a tier gets it: within limits, its checksum verified."""

    frame: Frame
    sender: str
    """Name in the caller's certificate; without TLS, the name that it gave itself."""
    arrived_s: float
    """On the server's clock."""


class Handler(Protocol):
    """What a tier does with a frame. Cancelled when the answer is no longer wanted or can no longer be in time."""

    async def __call__(self, request: Request, /) -> Result | Refusal: ...


class TierStream:
    """Runs one stream to its end. A credit returns only as its answer is written, so a slow reader stops only itself.

    Args:
        session: the protocol's state of this stream.
        stream: carries its messages.
        caller: who the certificate says it is, if there is one; then its own word does not count.
        admission: lets that caller's frames in.
        handler: called once for each frame, each in a task of its own.
        clock: monotonic seconds.
        load: what refusals made here say about the tier.
        age_s: the stream drains by itself after this.
    """

    def __init__(
        self,
        session: ServerSession,
        stream: Stream,
        *,
        caller: Caller | None,
        admission: Admission,
        handler: Handler,
        clock: Callable[[], float],
        load: Callable[[], Load],
        age_s: float,
    ) -> None:
        self._session = session
        self._stream = stream
        self._caller = caller
        self._admission = admission
        self._handler = handler
        self._clock = clock
        self._load = load
        self._age_s = age_s
        self._loop = asyncio.get_running_loop()
        self._sender = ""
        self._outbox: Outbox[_Reply] = Outbox(_UNSENT_LIMIT)
        self._frames: dict[int, asyncio.Task[None]] = {}
        self._answered: set[int] = set()
        """Frames whose answer is being written: too late to cancel."""
        self._pen = asyncio.Lock()
        self._draining = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def drain(self) -> None:
        """Refuse new frames, answer those that are here, then end the stream."""
        self._session.drain()
        self._draining.set()

    async def until_idle(self) -> None:
        """Return when no frame is being worked on."""
        await self._idle.wait()

    async def run(self) -> None:
        """Serve until the caller ends the stream, breaks it, or `drain` is done."""
        reader = asyncio.create_task(self._read(), name="stream reader")
        writer = asyncio.create_task(self._write(), name="stream writer")
        parts = [reader, writer, asyncio.create_task(self._drained(), name="stream drain")]
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            reader.cancel()
            parts.append(asyncio.create_task(self.until_idle(), name="stream end"))
            await asyncio.wait([writer, parts[-1]], return_when=asyncio.FIRST_COMPLETED)
            self._outbox.close()
            await asyncio.wait([writer])
        finally:
            await _ended([*parts, *self._frames.values()])

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(_HELLO_TIMEOUT_S):
                messages = await self._stream.read()
        except TimeoutError:
            self._outbox.put(_Farewell(Code.MALFORMED, f"no Hello came within {_HELLO_TIMEOUT_S:g} s"))
            return
        except RemoteProtocolError as error:
            self._break_off(error)
            return
        while messages:
            try:
                for message in messages:
                    for event in self._session.receive(message):
                        self._react(event)
                await self._outbox.room()
                messages = await self._stream.read()
            except RemoteProtocolError as error:
                self._break_off(error)
                return

    def _react(self, event: ServerEvent) -> None:
        match event:
            case FrameArrived(frame):
                self._accept(frame)
            case Cancelled(frame_id):
                self._cancel(frame_id)
            case Greeted(hello, reply):
                self._sender = hello.sender if self._caller is None else self._caller.name
                self._outbox.put(reply)
            case Faulty(refusal, reply):
                _log.info("refused frame %d of %r: %s: %s", refusal.id, self._sender, refusal.code.name, refusal.detail)
                self._outbox.put(reply)
            case Probed(_, reply) | Progressed(_, reply):
                self._outbox.put(reply)

    def _break_off(self, error: RemoteProtocolError) -> None:
        """The caller's bytes name no frame: end the stream, and give up what it asked for."""
        _log.warning("ending the stream of %r: %s", self._sender, error)
        self._outbox.put(_Farewell(error.code, error.detail))
        for frame_id in self._frames:
            self._cancel(frame_id)

    def _cancel(self, frame_id: int) -> None:
        if frame_id in self._frames and frame_id not in self._answered:
            self._frames[frame_id].cancel()

    def _accept(self, frame: Frame) -> None:
        if frame.remaining_us == 0:
            self._outbox.put(self._refusal(frame.id, Code.EXPIRED, _LATE))
            return
        turned_away = None if self._caller is None else self._admission.take(self._caller)
        if turned_away is not None:
            self._turn_away(frame.id, turned_away)
            return
        now_s = self._clock()
        task = self._loop.create_task(self._handle(Request(frame, self._sender, now_s)))
        due = self._loop.call_later(frame.remaining_us / 1e6, self._cancel, frame.id)
        self._frames[frame.id] = task
        self._idle.clear()
        task.add_done_callback(partial(self._finish, frame.id, due))

    def _turn_away(self, frame_id: int, turned_away: TurnedAway) -> None:
        """Refuse a frame; a caller that is no longer welcome loses the stream with it."""
        refusal = self._refusal(frame_id, turned_away.code, turned_away.detail)
        self._outbox.put(replace(refusal, retry_after_us=turned_away.retry_after_us))
        if turned_away.code is Code.FORBIDDEN:
            raise RemoteProtocolError(turned_away.code, turned_away.detail)

    async def _handle(self, request: Request) -> None:
        answer = await self._handler(request)
        self._answered.add(request.frame.id)
        if self._outbox or self._pen.locked():
            self._outbox.put(answer)
        else:
            async with self._pen:  # saves the way through the writer's task
                data = self._encode(answer)
                if data is not None:
                    await self._stream.write([Outgoing(data)])

    def _finish(self, frame_id: int, due: asyncio.TimerHandle, task: asyncio.Task[None]) -> None:
        due.cancel()
        del self._frames[frame_id]
        self._answered.discard(frame_id)
        if not self._frames:
            self._idle.set()
        if task.cancelled():
            self._outbox.put(
                self._refusal(frame_id, Code.EXPIRED, _LATE if due.when() <= self._loop.time() else _CANCELLED)
            )
        elif (error := task.exception()) is not None:
            _log.error("frame %d of %r failed", frame_id, self._sender, exc_info=error)
            self._outbox.put(self._refusal(frame_id, Code.INTERNAL, "the tier failed on this frame; its log says why"))

    def _refusal(self, frame_id: int, code: Code, detail: str) -> Refusal:
        return Refusal(frame_id, code, detail, load=self._load())

    async def _drained(self) -> None:
        try:
            await asyncio.wait_for(self._draining.wait(), self._age_s)
        except TimeoutError:
            self.drain()
        await self._idle.wait()
        self._outbox.put(_Farewell(Code.DRAINING, "this stream has ended here; open another"))

    async def _write(self) -> None:
        while (message := await self._outbox.take()) is not None:
            async with self._pen:
                await self._stream.write(list(self._together(message)))

    def _together(self, first: _Reply) -> Iterator[Outgoing]:
        """Bytes of a reply and of those behind it, as far as one pack goes."""
        size, reply = 0, first
        while True:
            data = reply if isinstance(reply, bytes) else self._encode(reply)
            if data is not None:
                size += len(data)
                yield Outgoing(data)
            following = self._outbox.pop() if size < PACK_BYTES else None
            if following is None:
                return
            reply = following

    def _encode(self, message: Result | Refusal | _Farewell) -> bytes | None:
        if isinstance(message, _Farewell):
            return self._session.refuse_stream(message.code, message.detail)
        if self._session.state is not State.OPEN:
            return None
        if isinstance(message, Refusal):
            return self._session.refuse(message)
        try:
            return self._session.answer(message)
        except LocalProtocolError as error:
            _log.error("frame %d of %r: its answer cannot be sent: %s", message.id, self._sender, error)
            return self._session.refuse(Refusal(message.id, Code.INTERNAL, "the answer is too large to be sent"))


async def _ended(tasks: list[asyncio.Task[Any]]) -> None:
    """Cancel what still runs, wait for all, and log what went wrong in them."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for task in tasks:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.debug("%s ended: %r", task.get_name(), error)
