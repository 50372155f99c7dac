"""The web application: its doors, what it refuses at the threshold, and how errors are told."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError

from cloud.control import for_devices, for_operators, metrics
from cloud.control.dashboard import actions, gate, pages
from cloud.control.dashboard.sessions import Sessions, Throttle
from cloud.control.dashboard.showing import page
from cloud.control.errors import Refused
from cloud.control.plane import Plane
from protocol.errors import IsthmusError
from runtime.errors import BundleError
from transport.address import is_loopback
from transport.errors import EnrolmentRefused

MAX_BODY_BYTES = 1 << 20
"""Of any request but a bundle."""
MAX_TOLD_BYTES = 64 << 10
"""Of what a device tells."""
DESCRIPTION = "Bundles, devices, rollouts and policies of a fleet. See docs/fleet.md."

_Next = Callable[[Request], Awaitable[Response]]


def build(plane: Plane) -> FastAPI:
    """The application over a running control plane."""
    app = FastAPI(
        title="isthmus control plane", version="1", description=DESCRIPTION, openapi_url="/v1/openapi.json",
        docs_url=None, redoc_url=None,
    )  # fmt: skip
    app.state.plane = plane
    app.include_router(for_devices.router)
    app.include_router(for_operators.router)
    app.include_router(metrics.router)
    app.state.gate = gate.Gate(Sessions(time.monotonic, 3600 * plane.settings.session_hours), Throttle(time.monotonic))
    for part in (gate, pages, actions):
        app.include_router(part.router)
    app.add_api_route("/healthz", _alive, include_in_schema=False)
    app.add_api_route("/readyz", _ready, include_in_schema=False)
    app.middleware("http")(_threshold)
    app.add_exception_handler(gate.SignInFirst, _sign_in_first)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(BundleError, _unfit)
    app.add_exception_handler(EnrolmentRefused, _unfit)
    app.add_exception_handler(RequestValidationError, _misspelt)
    app.add_exception_handler(DBAPIError, _later)
    return app


async def _alive() -> Response:
    """The event loop turns."""
    return Response("alive\n", media_type="text/plain")


def _ready(request: Request) -> Response:
    """The database answers."""
    request.app.state.plane.database.revision()
    return Response("ready\n", media_type="text/plain")


async def _threshold(request: Request, call_next: _Next) -> Response:
    """Refuse what no door wants: names that lead here from elsewhere (DNS rebinding), and bodies without end."""
    if request.url.scheme == "http" and not is_loopback(request.url.hostname or ""):
        return _told(request, 403, "without TLS this answers only to this machine's own names, as http://127.0.0.1")
    most = MAX_TOLD_BYTES if request.url.path.startswith("/v1/agent/") else MAX_BODY_BYTES
    if not (request.method == "PUT" and request.url.path == "/v1/bundles") and not _is_short(request, most):
        return _told(request, 413, f"this request has at most {most} bytes, and says how many")
    response = await call_next(request)
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def _is_short(request: Request, most: int) -> bool:
    length = request.headers.get("content-length")
    if length is None:
        return "transfer-encoding" not in request.headers
    return length.isdecimal() and int(length) <= most


async def _sign_in_first(request: Request, _: Exception) -> Response:
    return gate.to_sign_in(request)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return _told(request, error.status, str(error))


async def _unfit(request: Request, error: Exception) -> Response:
    assert isinstance(error, IsthmusError)
    return _told(request, 422, str(error))


async def _misspelt(request: Request, error: Exception) -> Response:
    """The first thing that is wrong, in one sentence."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return _told(request, 422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")


async def _later(request: Request, _: Exception) -> Response:
    return _told(request, 503, "the database cannot be used now; nothing has changed, ask again later")


def _told(request: Request, status: int, error: str) -> Response:
    """To programs as JSON, to people as a page."""
    if request.url.path.startswith("/v1/"):
        return JSONResponse({"error": error}, status)
    return page(request, "problem.html", None, {"error": error}, status)
