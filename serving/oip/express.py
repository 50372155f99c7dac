"""A connection of the REST door: whole inference requests are answered here, and everything else by the web framework.

A framework reads any request, and takes longer for that than some models do. Requests for inference that are plainly
written, with a body of known length, are read by this protocol alone; with the first request of another kind the
connection goes over to the framework, its bytes as they came, and stays there. So nothing here decides what a doubtful
request means.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Final, Protocol, cast

from transport.admission import Caller
from transport.https import caller_of

_HEAD_BYTES: Final = 8 << 10
_BODY_BYTES: Final = 1 << 20
"""Longer heads and bodies are the framework's, which reads them piece by piece."""
_AHEAD_BYTES: Final = 64 << 10
"""What may come of the next requests while one is answered; then nothing more is read."""
_LOOK_S: Final = 30.0
"""How often a connection is looked at."""
_SLOW_LOOKS: Final = 2
"""After so many looks a request that is not whole goes to the framework, which gives up a body that does not come, and
a connection is closed whose caller does not read."""
_IDLE_LOOKS: Final = 120
"""After so many one that is idle is closed: as late as by the framework, later than proxies do."""
_BEGINS: Final = b"POST /v2/models/"
_LINE: Final = re.compile(rb"POST /v2/models/([\w.~-]+)(?:/versions/([\w.~-]+))?/infer HTTP/1\.1")
_FIELD: Final = re.compile(rb"([\w.~!#$%&'*+^`|-]+):[ \t]*([ -~]*?)[ \t]*")
_NOT_HERE: Final = frozenset({b"transfer-encoding", b"content-encoding", b"expect", b"upgrade"})
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the head of an inference request says.

    Attributes:
        model, version: from the path; an empty version is the newest.
        json_bytes: `Inference-Header-Content-Length` as it was written; None without.
        body_bytes: length of the body.
    """

    model: str
    version: str
    json_bytes: str | None
    body_bytes: int


def read_head(head: bytes) -> Asked | None:
    """The head of a request without its empty line; None where it is not plainly one for inference."""
    first, *lines = head.split(b"\r\n")
    line = _LINE.fullmatch(first)
    if line is None:
        return None
    fields: dict[bytes, bytes] = {}
    for told in lines:
        field = _FIELD.fullmatch(told)
        if field is None or (name := field[1].lower()) in fields or name in _NOT_HERE:
            return None
        fields[name] = field[2]
    length = fields.get(b"content-length", b"")
    keeps = fields.get(b"connection", b"keep-alive").lower() == b"keep-alive"
    if not keeps or b"host" not in fields or not length.isdigit() or len(length) > 7 or int(length) > _BODY_BYTES:
        return None
    json_bytes = fields.get(b"inference-header-content-length")
    model, version = line[1].decode(), (line[2] or b"").decode()
    return Asked(model, version, None if json_bytes is None else json_bytes.decode(), int(length))


class Door(Protocol):
    """What connections belong to."""

    def enter(self) -> bool:
        """A request begins; False where too many are here."""
        ...

    def leave(self) -> None:
        """A request that had begun is over."""
        ...

    def answer(self, asked: Asked, body: memoryview, caller: Caller | None) -> Coroutine[None, None, bytes]:
        """All bytes of the answer, whatever it is."""
        ...

    def framework(self) -> asyncio.Protocol:
        """The protocol that reads any request, for one connection."""
        ...


class Express(asyncio.Protocol):
    """One connection, one request after the other.

    Args:
        door: whose it is.
        connections: it is in there while it is open and has not gone over to the framework.
    """

    def __init__(self, door: Door, connections: set[Express]) -> None:
        self._door = door
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._caller: Caller | None = None
        self._chunks: list[bytes] = []
        self._here = 0
        """Bytes in the chunks."""
        self._last: tuple[bytes, Asked | None] = (b"", None)
        """The last head, and what it says: a client's heads are mostly the same."""
        self._asked: Asked | None = None
        """The request whose body is coming, or which is being answered."""
        self._begin = 0
        """Where its body begins."""
        self._task: asyncio.Task[bytes] | None = None
        self._paused = self._unread = False
        self._looks = 0
        """Since the last head, or body, was whole."""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A caller is there, and known."""
        self._transport = cast(asyncio.Transport, transport)  # by its interface: uvloop's have no base in common
        self._caller = caller_of(transport.get_extra_info("ssl_object"))
        self._connections.add(self)
        self._timer = self._loop.call_later(_LOOK_S, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody wants the answer any more."""
        self._leave_connection()
        if self._task is not None:
            self._task.cancel()
        elif self._asked is not None:
            self._door.leave()
        self._transport = self._asked = None

    def close(self) -> None:
        """Close the connection, whatever is being done for it."""
        if self._transport is not None:
            self._transport.close()

    def pause_writing(self) -> None:
        """The caller does not read its answers: no more requests of it are read."""
        self._unread = True

    def resume_writing(self) -> None:
        """It reads them."""
        self._unread = False
        self._go_on()

    def data_received(self, data: bytes) -> None:
        """Some bytes more."""
        self._chunks.append(data)
        self._here += len(data)
        if self._task is None and not self._unread:
            self._go_on()
        elif self._here > _AHEAD_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _go_on(self) -> None:
        """Read what is here, and have a request answered that is here as a whole."""
        if self._transport is None or self._task is not None or self._unread:
            return
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        if self._asked is None:
            self._asked = self._next_asked()
        asked = self._asked
        if asked is None or self._here < (end := self._begin + asked.body_bytes):
            return
        whole = self._joined()
        self._chunks = [rest] if (rest := whole[end:]) else []
        self._here = len(rest)
        self._looks = 0
        body = memoryview(whole)[self._begin : end]
        self._task = self._loop.create_task(self._door.answer(asked, body, self._caller))
        self._task.add_done_callback(self._answered)

    def _next_asked(self) -> Asked | None:
        """The next request, once its head is here; one of another kind goes to the framework."""
        if not self._here:
            return None
        whole = self._joined()
        end = whole.find(b"\r\n\r\n", 0, _HEAD_BYTES)
        if end < 0:
            if len(whole) >= _HEAD_BYTES or not whole.startswith(_BEGINS[: len(whole)]):
                self._hand_over()
            return None
        head = whole[:end]
        if head != self._last[0]:
            self._last = (head, read_head(head))
        asked = self._last[1]
        if asked is None or not self._door.enter():
            self._hand_over()
            return None
        self._begin = end + 4
        self._looks = 0
        return asked

    def _joined(self) -> bytes:
        if len(self._chunks) > 1:
            self._chunks = [b"".join(self._chunks)]
        return self._chunks[0]

    def _answered(self, task: asyncio.Task[bytes]) -> None:
        """Give the answer, and go on. An answer that failed in a way that it never should ends the connection."""
        self._door.leave()
        self._task = self._asked = None
        if self._transport is None or task.cancelled():
            return
        error = task.exception()
        if error is not None:
            _log.error("a request could not be answered; its connection is closed", exc_info=error)
            self._transport.abort()
            return
        self._transport.write(task.result())
        if self._here:
            self._go_on()

    def _hand_over(self) -> None:
        """From here on the framework reads, from the first byte that has not been answered."""
        transport = self._transport
        assert transport is not None
        self._leave_connection()
        if self._asked is not None:
            self._door.leave()
        self._transport = self._asked = None
        framework = self._door.framework()
        transport.set_protocol(framework)
        framework.connection_made(transport)
        for chunk in self._chunks:
            framework.data_received(chunk)
        self._chunks = []

    def _leave_connection(self) -> None:
        self._connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        """Leave no connection open for ever, whose caller sends nothing, or nothing whole, or reads nothing."""
        self._timer = self._loop.call_later(_LOOK_S, self._look)
        self._looks += 1
        waits = self._here > 0 or self._unread
        if self._task is not None or self._looks < (_SLOW_LOOKS if waits else _IDLE_LOOKS):
            return
        if self._here and not self._unread:
            self._hand_over()
        else:
            self.close()
