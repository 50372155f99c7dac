"""The REST door: paths, statuses and bodies; over aiohttp, but for plain inference requests."""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from time import time
from typing import Any, Final

from aiohttp import web
from pydantic_core import to_json

from protocol.limits import MAX_MESSAGE_BYTES
from serving.oip.bodies import HEADER_LENGTH, read_object, read_raw_request, read_request, written_response
from serving.oip.errors import OipUnusable, Reason, RequestRefused, invalid
from serving.oip.express import Asked, Express
from serving.oip.service import InferenceService
from serving.oip.telling import model_metadata, repository_index, server_metadata, statistics_of
from serving.oip.values import InferenceRequest
from transport.admission import Caller
from transport.https import caller_of, server_context
from transport.settings import Listen

_KEY: Final = "oip.rest"
_SMALL_BYTES: Final = 64 << 10
"""Longer JSON is read in a thread."""
_WHOLE_BYTES: Final = 1 << 20
"""Bodies up to this are read on without a pause."""
_BODY_S: Final = 30.0
"""For a body to come."""
_BACKLOG: Final = 512
"""Connections that may wait to be taken."""
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class _Told:
    """An answer, whichever way it goes out."""

    content: bytes
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> web.Response:
        """For the framework."""
        return web.Response(body=self.content, status=self.status, headers=self.headers, content_type=self.content_type)

    def message(self) -> bytes:
        """As it is sent."""
        lines = [
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.content)}",
            f"Date: {_date(int(time()))}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + self.content


class RestDoor:
    """Listens for REST requests.

    Args:
        service: answers.
        listen: where; beyond loopback only with TLS and a client CA.
        requests: how many may be here and unanswered.
    """

    def __init__(self, service: InferenceService, listen: Listen, *, requests: int) -> None:
        self._service = service
        self._listen = listen
        self._most = requests
        self._here = 0
        self._done = asyncio.Event()
        self._done.set()
        self._runner: web.AppRunner | None = None
        self._framework: Callable[[], asyncio.Protocol] | None = None
        self._listening: asyncio.Server | None = None
        self._connections: set[Express] = set()

    @property
    def port(self) -> int:
        """The port listened on; 0 before `start`."""
        return 0 if self._listening is None else int(self._listening.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Bind and answer.

        Raises:
            OipUnusable: the address cannot be bound.
            CertificateUnusable: a TLS file cannot be read.
        """
        self._listen.require_safe()
        context = None if self._listen.tls is None else server_context(self._listen.tls, _KEY)
        app = web.Application(client_max_size=MAX_MESSAGE_BYTES, middlewares=[_refusals_told, self._welcomed])
        app.add_routes(self._routes())
        # A body that says it is compressed is refused, so nothing is ever unpacked.
        self._runner = web.AppRunner(app, access_log=None, auto_decompress=False, read_bufsize=_WHOLE_BYTES)
        await self._runner.setup()
        self._framework = self._runner.server
        loop = asyncio.get_running_loop()
        try:
            self._listening = await loop.create_server(
                lambda: Express(self, self._connections),
                self._listen.host, self._listen.port, ssl=context, backlog=_BACKLOG,
            )  # fmt: skip
        except OSError as exc:
            await self.stop()
            raise OipUnusable(_KEY, self._listen.host, self._listen.port, exc.strerror or str(exc)) from exc

    async def drain(self, timeout_s: float) -> int:
        """Take no more requests, wait for the requests that are here, then stop; how many were cut."""
        self._service.drain()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._done.wait()
        late = self._here
        await self.stop()
        return late

    async def stop(self) -> None:
        """Close the port and every connection."""
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.close()
        for connection in list(self._connections):
            connection.close()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def framework(self) -> asyncio.Protocol:
        """What reads any request of one connection."""
        assert self._framework is not None, "connections are made after `start`"
        return self._framework()

    def enter(self) -> bool:
        """Count a request; False where too many are here."""
        if self._here >= self._most:
            return False
        self._here += 1
        self._done.clear()
        return True

    def leave(self) -> None:
        """A request that was counted is over."""
        self._here -= 1
        if not self._here:
            self._done.set()

    async def answer(self, asked: Asked, body: memoryview, caller: Caller | None) -> bytes:
        """All bytes of the answer to an inference request."""
        try:
            self._service.admitted.welcome(caller)
            told = await self._inferred(asked.model, asked.version, body, asked.json_bytes, caller)
        except RequestRefused as exc:
            told = _refused(exc)
        return told.message()

    def _routes(self) -> list[web.RouteDef]:
        model = "/v2/models/{name}"
        version = model + "/versions/{version}"
        return [
            web.get("/v2", self._server),
            web.get("/v2/", self._server),
            web.get("/v2/health/live", self._live),
            web.get("/v2/health/ready", self._ready),
            web.get("/v2/models/stats", self._statistics),
            web.post("/v2/repository/index", self._index),
            web.post("/v2/repository/models/{name}/load", self._control),
            web.post("/v2/repository/models/{name}/unload", self._control),
            *(
                route
                for path in (model, version)
                for route in (
                    web.get(path, self._model),
                    web.get(path + "/ready", self._model_ready),
                    web.get(path + "/stats", self._statistics),
                    web.post(path + "/infer", self._infer),
                )
            ),
        ]

    @web.middleware
    async def _welcomed(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        self._service.admitted.welcome(caller_of(_connection(request)))
        return await handler(request)

    async def _live(self, _: web.Request) -> web.Response:
        return _json({"live": True})

    async def _ready(self, _: web.Request) -> web.Response:
        ready = self._service.ready
        return _json({"ready": ready}, status=200 if ready else 503)

    async def _server(self, _: web.Request) -> web.Response:
        return _json(server_metadata(self._service))

    async def _model(self, request: web.Request) -> web.Response:
        return _json(model_metadata(self._service, *_model_of(request)))

    async def _model_ready(self, request: web.Request) -> web.Response:
        model = self._service.catalog.find(*_model_of(request))
        ready = self._service.ready
        return _json({"name": model.name, "ready": ready}, status=200 if ready else 503)

    async def _statistics(self, request: web.Request) -> web.Response:
        return _json({"model_stats": statistics_of(self._service, *_model_of(request))})

    async def _index(self, request: web.Request) -> web.Response:
        asked = read_object(await self._body(request)).get("ready", False)
        if not isinstance(asked, bool):
            raise invalid("ready is true or false")
        return _json(repository_index(self._service, ready=asked))

    async def _control(self, request: web.Request) -> web.Response:
        self._service.catalog.find(request.match_info["name"])
        raise RequestRefused(Reason.UNSUPPORTED, "the models here are those of the tier's configuration: `bundles`")

    async def _infer(self, request: web.Request) -> web.Response:
        if not self.enter():
            raise RequestRefused(Reason.OVERLOADED, f"{self._most} requests are here already", retry_after_s=1.0)
        try:
            body, caller = await self._body(request), caller_of(_connection(request))
            told = await self._inferred(*_model_of(request), body, request.headers.get(HEADER_LENGTH), caller)
            return told.response()
        finally:
            self.leave()

    async def _inferred(
        self, name: str, version: str, body: bytes | memoryview, header: str | None, caller: Caller | None
    ) -> _Told:
        asked = await self._read(name, version, body, header)
        answer = await self._service.infer(asked, caller)
        content, length = written_response(answer, asked)
        if length is None:
            return _Told(content)
        return _Told(content, content_type="application/octet-stream", headers={HEADER_LENGTH: str(length)})

    async def _read(self, name: str, version: str, body: bytes | memoryview, header: str | None) -> InferenceRequest:
        model = self._service.catalog.find(name, version)
        if header == "0":
            return read_raw_request(model, version, body)
        content = bytes(body)
        if len(content) <= _SMALL_BYTES or _leads_with_little(header):
            return read_request(name, version, content, header)
        return await asyncio.to_thread(read_request, name, version, content, header)

    async def _body(self, request: web.Request) -> bytes:
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise RequestRefused(Reason.ENCODED, "compressed bodies are not taken; send the body as it is")
        if (request.content_length or 0) > MAX_MESSAGE_BYTES:
            raise _too_large()
        try:
            async with asyncio.timeout(_BODY_S):
                return await request.read()
        except web.HTTPRequestEntityTooLarge as exc:
            raise _too_large() from exc
        except TimeoutError as exc:
            raise RequestRefused(Reason.EXPIRED, f"the body did not come within {_BODY_S:g} s") from exc


def _leads_with_little(header: str | None) -> bool:
    """Whether the JSON before binary tensors, which alone takes time to read, is short."""
    return header is not None and header.isdecimal() and len(header) < 8 and int(header) <= _SMALL_BYTES


def _too_large() -> RequestRefused:
    return RequestRefused(Reason.TOO_LARGE, f"a body has at most {MAX_MESSAGE_BYTES} bytes; send fewer items at once")


@web.middleware
async def _refusals_told(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Every answer that is no success is a JSON object with the sentence."""
    try:
        return await handler(request)
    except RequestRefused as exc:
        return _refused(exc).response()
    except web.HTTPException as exc:
        allow = {"Allow": exc.headers["Allow"]} if "Allow" in exc.headers else {}
        return _json(
            {"error": f"{request.method} {request.path[:128]}: {exc.reason}"}, status=exc.status, headers=allow
        )


def _refused(refused: RequestRefused) -> _Told:
    headers = {"Retry-After": str(max(1, math.ceil(refused.retry_after_s)))} if refused.retry_after_s else {}
    return _Told(to_json({"error": str(refused)}), status=refused.reason.http, headers=headers)


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


def _model_of(request: web.Request) -> tuple[str, str]:
    return request.match_info.get("name", ""), request.match_info.get("version", "")


def _connection(request: web.Request) -> ssl.SSLObject | None:
    return None if request.transport is None else request.transport.get_extra_info("ssl_object")


def _json(tree: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=to_json(tree), status=status, headers=headers, content_type="application/json")
