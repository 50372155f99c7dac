"""One stream at a tier: reads, hands frames to the handler, writes answers in the order they are done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from protocol.errors import Code, LocalProtocolError, RemoteProtocolError
from protocol.events import Cancelled, Faulty, FrameArrived, Greeted, Probed, Progressed, ServerEvent
from protocol.limits import PACK_BYTES
from protocol.messages import Frame, Load, Refusal, Result
from protocol.session import ServerSession, State
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


@dataclass(slots=True, eq=False)
class _Working:
    """A frame that is worked on: the task that does it, and its deadline."""

    frame_id: int
    task: asyncio.Task[None]
    due_s: float
    """On the event loop's clock."""


class TierStream:
    """Runs one stream to its end. A credit returns only as its answer is written, so a slow reader stops only itself.

    Leader and followers (Schmidt et al., 2000): the task that reads a frame works on it, and a new one reads on. So
    nothing waits for the event loop between a frame's arrival and its handler.

    Args:
        session: the protocol's state of this stream.
        stream: carries its messages.
        caller: who the certificate says it is, if there is one; then its own word does not count.
        admission: lets that caller's frames in.
        handler: called once for each frame, each in a task that does nothing else meanwhile.
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
        self._reader: asyncio.Task[None] | None = None
        """The task that reads now."""
        self._unheard = asyncio.Event()
        """Nothing is read any more."""
        self._frames: dict[int, _Working] = {}
        """Those without an answer, by id; a caller may use an id again as soon as it has the answer."""
        self._tasks: set[asyncio.Task[None]] = set()
        """Of these, and of those whose answer is being written."""
        self._alarm: asyncio.TimerHandle | None = None
        """At the earliest deadline, or at one of a frame that has its answer by now."""
        self._pen = asyncio.Lock()
        self._draining = asyncio.Event()
        self._idle = asyncio.Event()
        """Set as the last frame ends; cleared by those who wait for that."""

    def drain(self) -> None:
        """Refuse new frames, answer those that are here, then end the stream."""
        self._session.drain()
        self._draining.set()

    async def until_idle(self) -> None:
        """Return when no frame is being worked on."""
        while self._tasks:
            self._idle.clear()
            await self._idle.wait()

    async def run(self) -> None:
        """Serve until the caller ends the stream, breaks it, or `drain` is done."""
        self._reader = asyncio.create_task(self._read(), name="stream reader")
        writer = asyncio.create_task(self._write(), name="stream writer")
        parts = [
            asyncio.create_task(self._unheard.wait(), name="stream reading"),
            writer,
            asyncio.create_task(self._drained(), name="stream drain"),
        ]
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            self._reader.cancel()
            parts.append(asyncio.create_task(self.until_idle(), name="stream end"))
            await asyncio.wait([writer, parts[-1]], return_when=asyncio.FIRST_COMPLETED)
            self._outbox.close()
            await asyncio.wait([writer])
        finally:
            if self._alarm is not None:
                self._alarm.cancel()
            await _ended([self._reader, *parts, *self._tasks])

    async def _read(self) -> None:
        """Read until a frame comes, leave the reading to a new task, and work on the frame."""
        frame = None
        try:
            if self._outbox.is_full:
                await self._outbox.room()
            if self._session.state is not State.NEW or await self._greet():
                frame = await self._next_frame()
        finally:
            if frame is None:
                self._unheard.set()
        if frame is not None:
            self._reader = self._loop.create_task(self._read(), name="stream reader")
            task = asyncio.current_task()
            assert task is not None
            self._watch(frame, task)
            await self._work(frame, self._clock())

    async def _next_frame(self) -> Frame | None:
        """React to what comes until it ends with a frame; None when no more comes."""
        try:
            while messages := await self._stream.read():
                if (frame := self._take(messages)) is not None:
                    return frame
                await self._outbox.room()
        except RemoteProtocolError as error:
            self._break_off(error)
        return None

    async def _greet(self) -> bool:
        """React to the first message; whether it opened the stream."""
        try:
            async with asyncio.timeout(_HELLO_TIMEOUT_S):
                messages = await self._stream.read()
            if (frame := self._take(messages)) is not None:
                self._begin(frame)
        except TimeoutError:
            self._outbox.put(_Farewell(Code.MALFORMED, f"no Hello came within {_HELLO_TIMEOUT_S:g} s"))
        except RemoteProtocolError as error:
            self._break_off(error)
        return self._session.state is State.OPEN

    def _take(self, messages: Sequence[bytes]) -> Frame | None:
        """React to all; a frame at their end is the caller's to begin."""
        last: Frame | None = None
        for message in messages:
            for event in self._session.receive(message):
                if last is not None:
                    self._begin(last)  # what follows may cancel it
                last = self._react(event)
        return last

    def _react(self, event: ServerEvent) -> Frame | None:
        """Do what an event asks for; a frame that is let in is the caller's to begin."""
        match event:
            case FrameArrived(frame):
                return frame if self._accepts(frame) else None
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
        return None

    def _break_off(self, error: RemoteProtocolError) -> None:
        """The caller's bytes name no frame: end the stream, and give up what it asked for."""
        _log.warning("ending the stream of %r: %s", self._sender, error)
        self._outbox.put(_Farewell(error.code, error.detail))
        for frame_id in self._frames:
            self._cancel(frame_id)

    def _cancel(self, frame_id: int) -> None:
        if frame_id in self._frames:
            self._frames[frame_id].task.cancel()

    def _turn_away(self, frame_id: int, turned_away: TurnedAway) -> None:
        """Refuse a frame; a caller that is no longer welcome loses the stream with it."""
        refusal = self._refusal(frame_id, turned_away.code, turned_away.detail)
        self._outbox.put(replace(refusal, retry_after_us=turned_away.retry_after_us))
        if turned_away.code is Code.FORBIDDEN:
            raise RemoteProtocolError(turned_away.code, turned_away.detail)

    def _accepts(self, frame: Frame) -> bool:
        if frame.remaining_us == 0:
            self._outbox.put(self._refusal(frame.id, Code.EXPIRED, _LATE))
            return False
        turned_away = None if self._caller is None else self._admission.take(self._caller)
        if turned_away is not None:
            self._turn_away(frame.id, turned_away)
        return turned_away is None

    def _begin(self, frame: Frame) -> None:
        """Have a task of its own work on a frame."""
        self._watch(frame, self._loop.create_task(self._work(frame, self._clock())))

    def _watch(self, frame: Frame, task: asyncio.Task[None]) -> None:
        """Cancel the task of a frame when its time is over, and refuse the frame where it fails."""
        due_s = self._loop.time() + 1e-6 * frame.remaining_us
        self._frames[frame.id] = _Working(frame.id, task, due_s)
        self._tasks.add(task)
        task.add_done_callback(self._failed)
        if self._alarm is None or due_s < self._alarm.when():
            self._set_alarm(due_s)

    def _set_alarm(self, due_s: float) -> None:
        """One for all frames: most are answered long before, and setting one costs more than looking at a number."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._loop.call_at(due_s, self._ring)

    def _ring(self) -> None:
        """Cancel what is late, and wait for the next deadline."""
        self._alarm, now_s = None, self._loop.time()
        for working in self._frames.values():
            if working.due_s <= now_s:
                working.task.cancel()
        left = [working.due_s for working in self._frames.values() if working.due_s > now_s]
        if left:
            self._set_alarm(min(left))

    async def _work(self, frame: Frame, arrived_s: float) -> None:
        answer = await self._handler(Request(frame, self._sender, arrived_s))
        working = self._frames.pop(frame.id)  # too late to cancel
        if self._outbox or self._pen.locked():
            self._outbox.put(answer)
        else:
            await self._write_at_once(answer)
        working.task.remove_done_callback(self._failed)  # a call of the event loop less
        self._settle(working.task)

    async def _write_at_once(self, answer: Result | Refusal) -> None:
        """Without the way through the writer's task."""
        await self._pen.acquire()
        try:
            data = self._encode(answer)
            if data is not None:
                await self._stream.write((Outgoing(data),))
        finally:
            self._pen.release()

    def _settle(self, task: asyncio.Task[None]) -> None:
        """A frame is no longer worked on."""
        self._tasks.discard(task)
        if not self._tasks:
            self._idle.set()

    def _failed(self, task: asyncio.Task[None]) -> None:
        """The task of a frame has been cancelled, or has raised something."""
        self._settle(task)
        error = None if task.cancelled() else task.exception()
        working = next((one for one in self._frames.values() if one.task is task), None)
        if working is None:  # its answer could not be written: the stream has ended
            _log.debug("an answer to %r was not written: %r", self._sender, error)
            return
        del self._frames[working.frame_id]
        if error is None:
            late = working.due_s <= self._loop.time()
            self._outbox.put(self._refusal(working.frame_id, Code.EXPIRED, _LATE if late else _CANCELLED))
        else:
            _log.error("frame %d of %r failed", working.frame_id, self._sender, exc_info=error)
            detail = "the tier failed on this frame; its log says why"
            self._outbox.put(self._refusal(working.frame_id, Code.INTERNAL, detail))

    def _refusal(self, frame_id: int, code: Code, detail: str) -> Refusal:
        return Refusal(frame_id, code, detail, load=self._load())

    async def _drained(self) -> None:
        try:
            await asyncio.wait_for(self._draining.wait(), self._age_s)
        except TimeoutError:
            self.drain()
        await self.until_idle()
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
