"""HTTP: /healthz, /metrics, /status, /frames and /frames/NAME. Only GET, from this machine or with a certificate."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import ssl
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from device.errors import DeviceError
from device.settings import StatusSettings
from device.status.metrics import Metrics
from device.status.recent import Recent
from device.status.report import Report
from transport.address import names_loopback
from transport.admission import Revoked
from transport.https import caller_of, may_read, server_context

ANSWER_S = 2.0
"""An event loop that does not answer for so long hangs."""
PATIENCE_S = 10.0
"""For a caller to say something."""
LAST = 50
"""Frames on one page."""
Value = TypeVar("Value")


class StatusError(DeviceError):
    """The port cannot be listened on. For a person to read."""

    exit_code = 2


class StatusServer:
    """Serves from threads of its own while entered; asks the event loop for what belongs to it.

    Args:
        settings: where to listen, and who may look; `port` tells which port it is.
        report: the state.
        metrics: for Prometheus.
        recent: the last frames.

    Raises:
        StatusError: the port is taken.
        CertificateUnusable: a TLS file cannot be read.
    """

    def __init__(self, settings: StatusSettings, report: Report, metrics: Metrics, recent: Recent) -> None:
        self.report = report
        self.metrics = metrics
        self.recent = recent
        self._loop = asyncio.get_running_loop()
        try:
            self._server = _Server(settings, self)
        except OSError as exc:
            reason = exc.strerror or str(exc)
            raise StatusError(
                f"status.port {settings.port} on {settings.host} cannot be listened on: {reason}; set another"
            ) from exc
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

    def __init__(self, settings: StatusSettings, status: StatusServer) -> None:
        self.status = status
        self.readers = settings.readers
        self.revoked = Revoked.named_by(settings.tls, time.monotonic)
        self._tls = None if settings.tls is None else server_context(settings.tls, "status")
        super().__init__((settings.host, settings.port), _Request)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In a thread of the connection's own: who takes long to shake hands keeps nobody waiting."""
        if self._tls is None:
            super().finish_request(request, client_address)
            return
        request.settimeout(PATIENCE_S)
        try:
            secured = self._tls.wrap_socket(request, server_side=True)
        except OSError:  # ssl's own errors among them: no certificate, or none of the authority's
            return
        with secured:
            super().finish_request(secured, client_address)


class _Request(BaseHTTPRequestHandler):
    server: _Server
    server_version = "isthmus"
    sys_version = ""
    timeout = PATIENCE_S

    def do_GET(self) -> None:
        refusal = self._refusal()
        if refusal:
            self._json(HTTPStatus.FORBIDDEN, {"error": refusal})
            return
        try:
            self._answer(urlsplit(self.path).path)
        except (TimeoutError, concurrent.futures.CancelledError, RuntimeError):
            self._json(HTTPStatus.SERVICE_UNAVAILABLE, {"well": False, "troubles": ["the event loop does not answer"]})

    def _refusal(self) -> str:
        """Why the caller may not look; empty if it may."""
        if isinstance(self.connection, ssl.SSLSocket):
            if may_read(caller_of(self.connection), self.server.readers, self.server.revoked):
                return ""
            return "this certificate may not look here; status.readers names who may"
        return "" if names_loopback(self.headers.get("Host", "")) else "this is for programs of this machine"

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
