"""One stream at a tier: reads, hands frames to the handler, writes answers in the order they are done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import grpc

from protocol.errors import Code, LocalProtocolError, RemoteProtocolError
from protocol.messages import Frame, Load, Refusal, Result
from protocol.session import Cancelled, Faulty, FrameArrived, Greeted, Probed, ServerEvent, ServerSession, State
from transport.outbox import Outbox

_log = logging.getLogger(__name__)

_UNSENT_LIMIT = 64
"""Replies to a peer that does not read; beyond these nothing more is read from it."""
_HELLO_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class _Farewell:
    """The last message of a stream that this tier ends."""

    code: Code
    detail: str


@dataclass(frozen=True, slots=True)
class Request:
    """A frame as a tier gets it: within limits, its checksum verified."""

    frame: Frame
    sender: str
    """Name that the caller gave itself."""
    arrived_s: float
    """On the server's clock."""


class Handler(Protocol):
    """What a tier does with a frame. Cancelled when the answer is no longer wanted or can no longer be in time."""

    async def __call__(self, request: Request, /) -> Result | Refusal: ...


class TierStream:
    """Runs one stream to its end. A credit returns only as its answer is written, so a slow reader stops only itself.

    Args:
        session: the protocol's state of this stream.
        call: gRPC's context: `read` and `write` of bytes.
        handler: called once for each frame, each in a task of its own.
        clock: monotonic seconds.
        load: what refusals made here say about the tier.
        age_s: the stream drains by itself after this.
    """

    def __init__(
        self,
        session: ServerSession,
        call: Any,
        *,
        handler: Handler,
        clock: Callable[[], float],
        load: Callable[[], Load],
        age_s: float,
    ) -> None:
        self._session = session
        self._call = call
        self._handler = handler
        self._clock = clock
        self._load = load
        self._age_s = age_s
        self._sender = ""
        self._outbox: Outbox[Result | Refusal | bytes | _Farewell] = Outbox(_UNSENT_LIMIT)
        self._frames: dict[int, asyncio.Task[Result | Refusal]] = {}
        self._draining = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def drain(self) -> None:
        """Refuse new frames, answer those that are here, then end the stream."""
        self._session.drain()
        self._draining.set()

    async def run(self) -> None:
        """Serve until the caller ends the stream, breaks it, or `drain` is done."""
        reader = asyncio.create_task(self._read(), name="stream reader")
        writer = asyncio.create_task(self._write(), name="stream writer")
        parts = [reader, writer, asyncio.create_task(self._drained(), name="stream drain")]
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            reader.cancel()
            parts.append(asyncio.create_task(self._settled(), name="stream end"))
            await asyncio.wait([writer, parts[-1]], return_when=asyncio.FIRST_COMPLETED)
            self._outbox.close()
            await asyncio.wait([writer])
        finally:
            await _ended([*parts, *self._frames.values()])

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(_HELLO_TIMEOUT_S):
                data = await self._call.read()
        except TimeoutError:
            self._outbox.put(_Farewell(Code.MALFORMED, f"no Hello came within {_HELLO_TIMEOUT_S:g} s"))
            return
        while data is not grpc.aio.EOF:
            try:
                events = self._session.receive(data)
            except RemoteProtocolError as error:
                self._break_off(error)
                return
            for event in events:
                self._react(event)
            await self._outbox.room()
            data = await self._call.read()

    def _react(self, event: ServerEvent) -> None:
        match event:
            case FrameArrived(frame):
                self._accept(frame)
            case Cancelled(frame_id):
                if frame_id in self._frames:
                    self._frames[frame_id].cancel()
            case Greeted(hello, reply):
                self._sender = hello.sender
                self._outbox.put(reply)
            case Faulty(refusal, reply):
                _log.info("refused frame %d of %r: %s: %s", refusal.id, self._sender, refusal.code.name, refusal.detail)
                self._outbox.put(reply)
            case Probed(_, reply):
                self._outbox.put(reply)

    def _break_off(self, error: RemoteProtocolError) -> None:
        """The caller's bytes name no frame: end the stream, and give up what it asked for."""
        _log.warning("ending the stream of %r: %s", self._sender, error)
        self._outbox.put(_Farewell(error.code, error.detail))
        for task in self._frames.values():
            task.cancel()

    def _accept(self, frame: Frame) -> None:
        request = Request(frame, self._sender, self._clock())
        task = asyncio.create_task(self._handle(request), name=f"frame {frame.id} of {self._sender}")
        self._frames[frame.id] = task
        self._idle.clear()
        task.add_done_callback(partial(self._finish, frame.id))

    async def _handle(self, request: Request) -> Result | Refusal:
        frame = request.frame
        late = Refusal(frame.id, Code.EXPIRED, "the frame's time had passed before it could be answered")
        if frame.remaining_us == 0:
            return replace(late, load=self._load())
        try:
            async with asyncio.timeout(frame.remaining_us / 1e6):
                return await self._handler(request)
        except TimeoutError:
            return replace(late, load=self._load())

    def _finish(self, frame_id: int, task: asyncio.Task[Result | Refusal]) -> None:
        del self._frames[frame_id]
        if not self._frames:
            self._idle.set()
        if task.cancelled():
            detail = "the frame was cancelled by its sender"
            self._outbox.put(Refusal(frame_id, Code.EXPIRED, detail, load=self._load()))
        elif (error := task.exception()) is not None:
            _log.error("frame %d of %r failed", frame_id, self._sender, exc_info=error)
            detail = "the tier failed on this frame; its log says why"
            self._outbox.put(Refusal(frame_id, Code.INTERNAL, detail, load=self._load()))
        else:
            self._outbox.put(task.result())

    async def _drained(self) -> None:
        try:
            await asyncio.wait_for(self._draining.wait(), self._age_s)
        except TimeoutError:
            self.drain()
        await self._idle.wait()
        self._outbox.put(_Farewell(Code.DRAINING, "this stream has ended here; open another"))

    async def _settled(self) -> None:
        await self._idle.wait()

    async def _write(self) -> None:
        while (message := await self._outbox.take()) is not None:
            data = message if isinstance(message, bytes) else self._encode(message)
            if data is not None:
                await self._call.write(data)

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
