"""REST for devices: what am I to be like, give me that bundle, and this is how I am."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi import Path as InPath
from fastapi.responses import FileResponse

from cloud.control import fleet
from cloud.control.access import Device, ThePlane
from cloud.control.errors import NotKnown
from cloud.control.messages import DIGEST, Desired, Registration, Report
from cloud.control.plane import Plane

LONGEST_WAIT_S = 55.0

router = APIRouter(prefix="/v1/agent/{name}", tags=["devices' own"])


@router.put("/registration", status_code=204)
def register(device: Device, plane: ThePlane, told: Registration) -> Response:
    """Say what this device is. On disk when it is answered."""
    with plane.database.change() as connection:
        fleet.register(connection, device, device.name, told, plane.clock())
    return Response(status_code=204)


@router.get("/desired")
async def desired(
    device: Device,
    plane: ThePlane,
    etag: str = "",
    wait_s: Annotated[float, Query(ge=0, le=LONGEST_WAIT_S)] = 0.0,
) -> Desired:
    """What this device is to be like. With `etag` and `wait_s`, answered when that is something else than before."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + wait_s
    while True:
        revision = plane.bell.revision
        found = await asyncio.to_thread(_desired, plane, device.name)
        left_s = until_s - loop.time()
        if found.etag != etag or left_s <= 0 or plane.bell.closed:
            return found
        await plane.bell.wait(revision, left_s)


@router.get("/bundles/{digest}", response_class=FileResponse)
def bundle(device: Device, plane: ThePlane, digest: Annotated[str, InPath(pattern=DIGEST)]) -> FileResponse:
    """The zip of a bundle; a `Range` is honoured, so that an interrupted download goes on."""
    with plane.database.look() as connection:
        if digest not in fleet.known_digests(connection):
            raise NotKnown(f"there is no bundle {digest[:16]}… here")
    return FileResponse(plane.shelf.path(digest), media_type="application/zip")


@router.post("/report", status_code=202)
async def report(device: Device, plane: ThePlane, told: Report) -> Response:
    """How this device is. Kept in memory until the next write, in a moment: totals are told again anyway."""
    plane.telemetry.add(device.name, told, plane.clock())
    return Response(status_code=202)


def _desired(plane: Plane, name: str) -> Desired:
    with plane.database.look() as connection:
        return fleet.desired(connection, name)
