"""The pages to look at, and the stream that says when one of them has changed."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as InPath
from fastapi.responses import FileResponse, StreamingResponse

from cloud.control import conducting, fleet, people
from cloud.control.access import ThePlane
from cloud.control.dashboard import tiers
from cloud.control.dashboard.gate import SignedIn
from cloud.control.dashboard.showing import POLICIES, page
from cloud.control.messages import NAME
from cloud.control.people import Role
from cloud.control.plane import Plane

ROWS: Final = 100
LIVE_S: Final = 0.25
"""Between two looks for news; a page is as old as this at most."""
_STATIC: Final = Path(__file__).parent / "static"

router = APIRouter(include_in_schema=False)
Named = Annotated[str, InPath(pattern=NAME)]


@router.get("/")
def show_fleet(
    request: Request, plane: ThePlane, session: SignedIn, q: str = "", after: Annotated[str, Query(max_length=64)] = ""
) -> Response:
    """All devices, some at a time, and how the fleet is."""
    with plane.database.look() as connection:
        summary = fleet.summary(connection, plane.clock() - plane.settings.away_s)
        rows = fleet.list_devices(connection, after=after, most=ROWS + 1, like=q)
        running = conducting.running(connection)
    more = rows[ROWS - 1]["name"] if len(rows) > ROWS else None
    values = {"summary": summary, "devices": rows[:ROWS], "more": more, "q": q, "running": running}
    return page(request, "fleet.html", session, values | _common(plane))


@router.get("/devices/{name}")
def show_device(request: Request, plane: ThePlane, session: SignedIn, name: Named) -> Response:
    """One device."""
    with plane.database.look() as connection:
        found = fleet.one_device(connection, name)
    values = {"device": found, "status": found["status"] or {}, "policies": POLICIES, "may": _may(session)}
    return page(request, "device.html", session, values | _common(plane))


@router.get("/bundles")
def show_bundles(request: Request, plane: ThePlane, session: SignedIn) -> Response:
    """All bundles, and a form to roll one out."""
    with plane.database.look() as connection:
        values = {"bundles": fleet.list_bundles(connection), "may": _may(session)}
    return page(request, "bundles.html", session, values | _common(plane))


@router.get("/rollouts")
def show_rollouts(request: Request, plane: ThePlane, session: SignedIn) -> Response:
    """The last rollouts with their canaries' figures."""
    with plane.database.look() as connection:
        values = {"rollouts": conducting.list_rollouts(connection, plane.clock(), 20), "may": _may(session)}
    return page(request, "rollouts.html", session, values | _common(plane))


@router.get("/enroll")
def show_enroll(request: Request, plane: ThePlane, session: SignedIn) -> Response:
    """A form for a new device's token."""
    values = {"token": None, "name": None, "may": _may(session), "authority": plane.authority is not None}
    return page(request, "enroll.html", session, values | _common(plane))


@router.get("/tiers")
def show_tiers(request: Request, plane: ThePlane, session: SignedIn) -> Response:
    """Queues and batches of the tiers that the settings name."""
    return page(request, "tiers.html", session, {"tiers": tiers.look(plane.settings.tiers)})


@router.get("/audit")
def show_audit(request: Request, plane: ThePlane, session: SignedIn, before: int | None = None) -> Response:
    """Who changed what."""
    with plane.database.look() as connection:
        entries = people.read_audit(connection, before=before, most=ROWS)
    values = {"entries": entries, "more": entries[-1]["id"] if len(entries) == ROWS else None}
    return page(request, "audit.html", session, values | _common(plane))


@router.get("/live")
async def live(plane: ThePlane, _: SignedIn) -> StreamingResponse:
    """Server-sent events: one at once, and one whenever something has changed since."""
    return StreamingResponse(_news(plane), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


@router.get("/static/{name}")
def static(name: Annotated[str, InPath(pattern=r"^dashboard\.(css|js)$")]) -> Response:
    """The style and the script."""
    kind = "text/css" if name.endswith("css") else "text/javascript"
    return FileResponse(_STATIC / name, media_type=kind, headers={"Cache-Control": "no-cache"})


async def _news(plane: Plane) -> AsyncIterator[str]:
    told: tuple[int, int] | None = None
    quiet = 0
    while not plane.bell.closed:
        now = (plane.bell.revision, plane.telemetry.written)
        if now != told:
            told, quiet = now, 0
            yield f"data: {now[0]}.{now[1]}\n\n"
        else:
            quiet += 1
            if quiet % 60 == 0:
                yield ": quiet\n\n"
        await plane.bell.wait(now[0], LIVE_S)


def _may(session: SignedIn) -> bool:
    return session.actor.may(Role.OPERATOR)


def _common(plane: Plane) -> dict[str, Any]:
    return {"away_s": plane.settings.away_s, "loaded_s": time.time()}
