"""The door for operators, on loopback only: health, readiness, figures, and why batches are as they are."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from serving.errors import OperationsUnusable

_TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Operations:
    """GET /healthz, /readyz, /metrics, /batching.

    Args:
        port: on 127.0.0.1; 0 lets the system pick one.
        ready: whether frames are taken now.
        explain: what the scheduler knows, as JSON can hold it.
        registry: the figures.
    """

    def __init__(
        self,
        port: int,
        *,
        ready: Callable[[], bool],
        explain: Callable[[], dict[str, object]],
        registry: CollectorRegistry,
    ) -> None:
        self._wanted = port
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
            OperationsUnusable: the port cannot be bound.
        """
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/batching", self._batching)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, "127.0.0.1", self._wanted).start()
        except OSError as exc:
            await self.stop()
            raise OperationsUnusable(self._wanted, exc.strerror or str(exc)) from exc

    async def stop(self) -> None:
        """Close the port."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        """The event loop turns: that is what this answer proves."""
        return web.Response(text="alive\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        if self._ready():
            return web.Response(text="ready\n")
        return web.Response(status=503, text="not ready: starting or draining\n")

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": _TEXT})

    async def _batching(self, _: web.Request) -> web.Response:
        return web.json_response(self._explain())
