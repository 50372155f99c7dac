"""The door for operators: health, readiness, figures, and why batches are as they are."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from serving.errors import OperationsUnusable
from serving.settings import OperationsSettings
from transport.admission import Revoked
from transport.https import caller_of, may_read, server_context

_KEY = "operations"
_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Operations:
    """GET /healthz, /readyz, /metrics, /batching.

    Args:
        settings: where to listen, and who may look.
        alive: whether every part of the program is at work.
        ready: whether frames are taken now.
        explain: what the scheduler knows, as JSON can hold it.
        registry: the figures.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        settings: OperationsSettings,
        *,
        alive: Callable[[], bool] = lambda: True,
        ready: Callable[[], bool],
        explain: Callable[[], dict[str, object]],
        registry: CollectorRegistry,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._revoked = Revoked.named_by(settings.tls, clock)
        self._alive = alive
        self._ready = ready
        self._explain = explain
        self._registry = registry
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port listened on; 0 before `start`."""
        return int(self._runner.addresses[0][1]) if self._runner is not None and self._runner.addresses else 0

    async def start(self) -> None:
        """Bind and answer.

        Raises:
            InsecureBinding: others could reach it, and it has no TLS.
            OperationsUnusable: the port cannot be bound.
            CertificateUnusable: a TLS file cannot be read.
        """
        wanted = self._settings
        wanted.require_safe()
        context = None if wanted.tls is None else server_context(wanted.tls, _KEY)
        app = web.Application(middlewares=[self._welcomed])
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/batching", self._batching)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, wanted.host, wanted.port, ssl_context=context).start()
        except OSError as exc:
            await self.stop()
            raise OperationsUnusable(wanted.host, wanted.port, exc.strerror or str(exc)) from exc

    async def stop(self) -> None:
        """Close the port."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    @web.middleware
    async def _welcomed(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        caller = caller_of(_connection(request))
        if may_read(caller, self._settings.readers, self._revoked):
            return await handler(request)
        return web.Response(status=403, text="this certificate may not look here; operations.readers names who may\n")

    async def _healthz(self, _: web.Request) -> web.Response:
        """The event loop turns, as this answer proves, and no part has ended."""
        if self._alive():
            return web.Response(text="alive\n")
        return web.Response(status=503, text="a part of this tier has ended: start it again; its log says which\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        if self._ready():
            return web.Response(text="ready\n")
        return web.Response(status=503, text="not ready: starting or draining\n")

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": _TEXT})

    async def _batching(self, _: web.Request) -> web.Response:
        return web.json_response(self._explain())


def _connection(request: web.Request) -> ssl.SSLObject | None:
    return None if request.transport is None else request.transport.get_extra_info("ssl_object")
