"""Frames that programs of this machine send by HTTP: `POST /frames` with a PNG, a JPEG or an NPY file.

The answer is 202 with `{"key": ..., "kept": ...}`: `kept` says whether the frame is on disk, so that it will be
answered even if this process is killed now. A sender that got no answer sends again with the same `Idempotency-Key`.
Only loopback is listened on, and what a web page sends is refused, for a page of anywhere can call loopback.
"""

from __future__ import annotations

import asyncio
import io
import json
import threading
import uuid
from collections.abc import AsyncGenerator, Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from device.errors import DeviceError, SourceError
from device.sources.source import Captured, Clock, Content
from transport.address import names_loopback

MAX_BYTES = 32 << 20
"""Of one request."""
WAITING = 64
"""Frames taken from senders and not yet by the agent; more are refused with 503."""
MOST_IMPORTANT = 1000.0
"""Usual frames that one frame can be worth."""
IDLE_S = 30.0
"""A connection that says nothing for so long is closed."""
PICTURES = ("image/png", "image/jpeg")
ARRAYS = ("application/x-npy", "application/octet-stream")

Keep = Callable[[str, str, NDArray[Any]], None]
"""Puts a frame (key, name, content) on disk before it is acknowledged; raises `DeviceError` where it cannot."""


class PushSource:
    """Listens as soon as it is made.

    Args:
        host: a loopback address.
        port: 0 lets the system pick one; `port` tells which.
        rate_hz: what to expect.
        clock: monotonic seconds.
        keep: makes taken frames durable; None takes them on trust.

    Raises:
        SourceError: the port is taken.
    """

    def __init__(self, host: str, port: int, *, rate_hz: float, clock: Clock, keep: Keep | None = None) -> None:
        self.interval_s = 1.0 / rate_hz
        self.clock = clock
        self.keep = keep
        self._arrived: asyncio.Queue[Captured | None] = asyncio.Queue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._room = threading.Semaphore(WAITING)
        try:
            self._server = _Server((host, port), self)
        except OSError as exc:
            raise SourceError(
                f"source.port {port} on {host} cannot be listened on: {exc.strerror}; set another"
            ) from exc
        self.port: int = self._server.server_address[1]

    async def frames(self) -> AsyncGenerator[Captured, None]:
        self._loop = asyncio.get_running_loop()
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="push source", daemon=True)
        thread.start()
        try:
            while (captured := await self._arrived.get()) is not None:
                self._room.release()
                yield captured
        finally:
            await asyncio.to_thread(self._server.shutdown)
            self._server.server_close()

    def close(self) -> None:
        """Stop listening, where `frames` was never begun."""
        self._server.server_close()

    def samples(self, number: int) -> list[NDArray[Any]]:
        return []

    def take(self, captured: Captured) -> bool:
        """Hand a frame over from a sender's thread; whether there was room for it."""
        if self._loop is None or not self._room.acquire(blocking=False):
            return False
        self._loop.call_soon_threadsafe(self._arrived.put_nowait, captured)
        return True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], source: PushSource) -> None:
        self.source = source
        super().__init__(address, _Request)


class _Refused(Exception):
    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class _Request(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "isthmus"
    sys_version = ""
    timeout = IDLE_S

    def do_POST(self) -> None:
        try:
            self._reply(HTTPStatus.ACCEPTED, self._taken())
        except _Refused as exc:
            self.close_connection = True  # what is left of its body is not read
            self._reply(exc.status, {"error": str(exc)})

    def log_message(self, format: str, *args: object) -> None:
        """Senders are not logged one by one."""

    def _taken(self) -> dict[str, object]:
        source = self.server.source
        captured_s = source.clock()
        self._check_caller()
        body = self._body()
        content = _content_of(body, self.headers.get_content_type())
        key = self.headers.get("Idempotency-Key") or uuid.uuid4().hex
        if not (key.isprintable() and len(key) <= 128):
            raise _Refused(HTTPStatus.BAD_REQUEST, "Idempotency-Key is printable and has at most 128 characters")
        importance = self._importance()
        kept = self._kept(source, key, content)
        captured = Captured("push", captured_s, content, key, kept, importance=importance)
        if not source.take(captured) and not kept:
            raise _Refused(HTTPStatus.SERVICE_UNAVAILABLE, f"{WAITING} frames are waiting; send it again later")
        return {"key": key, "kept": kept}

    def _importance(self) -> float:
        text = self.headers.get("Importance", "1")
        try:
            importance = float(text)
        except ValueError:
            importance = -1.0
        if not 0.0 <= importance <= MOST_IMPORTANT:
            raise _Refused(
                HTTPStatus.BAD_REQUEST, f"Importance is {text!r}; send a number from 0 to {MOST_IMPORTANT:g}"
            )
        return importance

    def _kept(self, source: PushSource, key: str, content: Content) -> bool:
        if source.keep is None or isinstance(content, str):
            return False
        try:
            source.keep(key, "push", content)
        except DeviceError as exc:
            raise _Refused(HTTPStatus.INSUFFICIENT_STORAGE, str(exc)) from exc
        return True

    def _check_caller(self) -> None:
        if self.path != "/frames":
            raise _Refused(HTTPStatus.NOT_FOUND, f"there is no {self.path}; frames go to /frames")
        if self.headers.get("Origin") is not None or not names_loopback(self.headers.get("Host", "")):
            raise _Refused(HTTPStatus.FORBIDDEN, "web pages cannot push frames; call 127.0.0.1 from a program")

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "Content-Length is needed")
        if int(length) > MAX_BYTES:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a frame has at most {MAX_BYTES} bytes")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise _Refused(HTTPStatus.BAD_REQUEST, f"{len(body)} of {length} bytes came")
        return body

    def _reply(self, status: HTTPStatus, values: dict[str, object]) -> None:
        body = json.dumps(values).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _content_of(body: bytes, kind: str) -> NDArray[Any]:
    """A picture as uint8 [height, width, 3], or an array as it is."""
    try:
        if kind in PICTURES:
            with Image.open(io.BytesIO(body), formats=("PNG", "JPEG")) as picture:
                return np.asarray(picture.convert("RGB"))
        if kind in ARRAYS:
            array: NDArray[Any] = np.load(io.BytesIO(body), allow_pickle=False)
            return array
    except (UnidentifiedImageError, OSError, ValueError, EOFError, SyntaxError, Image.DecompressionBombError) as exc:
        raise _Refused(HTTPStatus.BAD_REQUEST, f"the body cannot be read as {kind}: {exc}") from exc
    known = ", ".join(PICTURES + ARRAYS)
    raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Content-Type {kind} is not taken; send one of {known}")
