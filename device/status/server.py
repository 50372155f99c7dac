"""HTTP on loopback: /healthz, /metrics, /status, /frames and /frames/NAME. Only GET, only from this machine."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from device.errors import DeviceError
from device.status.metrics import Metrics
from device.status.recent import Recent
from device.status.report import Report
from transport.settings import is_loopback

ANSWER_S = 2.0
"""An event loop that does not answer for so long hangs."""
LAST = 50
"""Frames on one page."""
Value = TypeVar("Value")


class StatusError(DeviceError):
    """The port cannot be listened on. For a person to read."""

    exit_code = 2


class StatusServer:
    """Serves from threads of its own while entered; asks the event loop for what belongs to it.

    Args:
        host: a loopback address.
        port: 0 lets the system pick one; `port` tells which.
        report: the state.
        metrics: for Prometheus.
        recent: the last frames.

    Raises:
        StatusError: the port is taken.
    """

    def __init__(self, host: str, port: int, report: Report, metrics: Metrics, recent: Recent) -> None:
        self.report = report
        self.metrics = metrics
        self.recent = recent
        self._loop = asyncio.get_running_loop()
        try:
            self._server = _Server((host, port), self)
        except OSError as exc:
            reason = exc.strerror or str(exc)
            raise StatusError(f"status.port {port} on {host} cannot be listened on: {reason}; set another") from exc
        self.port: int = self._server.server_address[1]

    def __enter__(self) -> StatusServer:
        threading.Thread(target=self._server.serve_forever, args=(0.1,), name="status", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def ask(self, question: Callable[[], Value]) -> Value:
        """Call in the event loop's thread.

        Raises:
            TimeoutError: it does not answer.
        """

        async def answer() -> Value:
            return question()

        return asyncio.run_coroutine_threadsafe(answer(), self._loop).result(ANSWER_S)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], status: StatusServer) -> None:
        self.status = status
        super().__init__(address, _Request)


class _Request(BaseHTTPRequestHandler):
    server: _Server
    server_version = "isthmus"
    sys_version = ""
    timeout = 10.0

    def do_GET(self) -> None:
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if not is_loopback(host.strip("[]")):
            self._json(HTTPStatus.FORBIDDEN, {"error": "this is for programs of this machine"})
            return
        try:
            self._answer(urlsplit(self.path).path)
        except (TimeoutError, concurrent.futures.CancelledError, RuntimeError):
            self._json(HTTPStatus.SERVICE_UNAVAILABLE, {"well": False, "troubles": ["the event loop does not answer"]})

    def log_message(self, format: str, *args: object) -> None:
        """Who looks is not logged."""

    def _answer(self, path: str) -> None:
        status = self.server.status
        if path == "/metrics":
            gauges = status.metrics.text()
            self._send(HTTPStatus.OK, "text/plain; version=0.0.4; charset=utf-8", gauges)
        elif path == "/healthz":
            health = status.ask(status.report.health)
            self._json(HTTPStatus.OK if health["well"] else HTTPStatus.SERVICE_UNAVAILABLE, health)
        elif path == "/status":
            self._json(HTTPStatus.OK, status.ask(status.report.status))
        elif path == "/frames":
            self._json(HTTPStatus.OK, status.ask(lambda: status.recent.last(LAST)))
        elif path.startswith("/frames/"):
            name = unquote(path.removeprefix("/frames/"))
            line = status.ask(lambda: status.recent.find(name))
            missing = {"error": f"frame {name!r} is not among the last ones that ended"}
            self._json(HTTPStatus.OK if line else HTTPStatus.NOT_FOUND, line or missing)
        else:
            known = "/healthz, /metrics, /status, /frames, /frames/NAME"
            self._json(HTTPStatus.NOT_FOUND, {"error": f"there is no {path}; there are {known}"})

    def _json(self, status: HTTPStatus, value: Any) -> None:
        self._send(status, "application/json", json.dumps(value).encode() + b"\n")

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
