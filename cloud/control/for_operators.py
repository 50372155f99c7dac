"""REST for people and their programs: bundles, devices, rollouts, policies, tokens and the audit log."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as InPath
from fastapi.responses import StreamingResponse

from cloud.control import conducting, fleet, people
from cloud.control.access import Admin, Operator, ThePlane, Viewer
from cloud.control.errors import Conflict, Unfit
from cloud.control.messages import (
    NAME,
    Invitation,
    Json,
    MadeToken,
    NewToken,
    Published,
    SetPolicy,
    Start,
    TakeBack,
)
from cloud.control.people import Actor
from cloud.control.plane import Plane
from transport.enrolment import make_token

Named = Annotated[str, InPath(pattern=NAME)]
PING_S = 15.0

router = APIRouter(prefix="/v1")
_log = logging.getLogger(__name__)


@router.put("/bundles", tags=["bundles"], status_code=201)
async def publish(request: Request, response: Response, actor: Operator, plane: ThePlane) -> Published:
    """Publish a bundle: the body is its zip. 201: verified and on disk; 200: it was here already."""
    incoming = plane.shelf.incoming()
    try:
        size = 0
        with incoming.open("xb") as file:
            async for chunk in request.stream():
                size += len(chunk)
                if size > plane.settings.max_bundle_bytes:
                    raise Unfit(f"this bundle is larger than max_bundle_bytes = {plane.settings.max_bundle_bytes}")
                await asyncio.to_thread(file.write, chunk)
        published, fresh = await asyncio.to_thread(_publish, plane, actor, incoming)
    finally:
        incoming.unlink(missing_ok=True)
    response.status_code = 201 if fresh else 200
    return published


@router.get("/bundles", tags=["bundles"])
def list_bundles(_: Viewer, plane: ThePlane) -> list[Published]:
    """All bundles, the newest first."""
    with plane.database.look() as connection:
        return fleet.list_bundles(connection)


@router.get("/devices", tags=["devices"])
def list_devices(
    _: Viewer, plane: ThePlane, after: str = "", most: Annotated[int, Query(ge=1, le=5000)] = 5000
) -> list[Json]:
    """Devices by name, each with what it told last; `after` is the last name of the page before."""
    with plane.database.look() as connection:
        return fleet.list_devices(connection, after=after, most=most)


@router.get("/devices/{name}", tags=["devices"])
def show_device(_: Viewer, plane: ThePlane, name: Named) -> Json:
    """A device: what it is, what it told last, what it is to be like, and what it refused."""
    with plane.database.look() as connection:
        return fleet.one_device(connection, name)


@router.put("/devices/{name}/policy", tags=["devices"], status_code=204)
def set_policy(actor: Operator, plane: ThePlane, name: Named, wanted: SetPolicy) -> Response:
    """Change what a device chooses by, or take that back."""
    with plane.database.change() as connection:
        fleet.set_policy(connection, actor, name, wanted.policy, plane.clock())
    return Response(status_code=204)


@router.put("/policy", tags=["devices"], status_code=204)
def set_policy_of_all(actor: Operator, plane: ThePlane, wanted: SetPolicy) -> Response:
    """The same for every device without a policy of its own."""
    with plane.database.change() as connection:
        fleet.set_policy(connection, actor, None, wanted.policy, plane.clock())
    return Response(status_code=204)


@router.post("/devices/{name}/shut-out", tags=["devices"], status_code=204)
def shut_out(actor: Operator, plane: ThePlane, name: Named) -> Response:
    """Answer a device no more; tiers have lists of their own (docs/security.md)."""
    with plane.database.change() as connection:
        fleet.shut_out(connection, actor, name, plane.clock())
    return Response(status_code=204)


@router.post("/invitations", tags=["devices"], status_code=201)
def invite(actor: Operator, plane: ThePlane, wanted: Invitation) -> Json:
    """Expect a device, or let one in again. Where the control plane has an authority, the answer is its token."""
    return invited(plane, actor, wanted)


@router.get("/rollouts", tags=["rollouts"])
def list_rollouts(_: Viewer, plane: ThePlane, most: Annotated[int, Query(ge=1, le=10_000)] = 100) -> list[Json]:
    """The last rollouts, the newest first, with the figures of the canaries and of the others."""
    with plane.database.look() as connection:
        return conducting.list_rollouts(connection, plane.clock(), most)


@router.get("/rollouts/{rollout}", tags=["rollouts"])
def show_rollout(_: Viewer, plane: ThePlane, rollout: Named) -> Json:
    """One rollout."""
    with plane.database.look() as connection:
        return conducting.told(connection, conducting.one_row(connection, rollout), plane.clock())


@router.post("/rollouts", tags=["rollouts"], status_code=201)
def start_rollout(actor: Operator, plane: ThePlane, wanted: Start) -> Json:
    """Begin a rollout. Asked again for the same bundle while it runs, the answer is the same rollout."""
    with plane.database.change() as connection:
        identity = conducting.start(connection, actor, wanted.digest, wanted.rules, plane.clock())
    return {"id": identity}


@router.post("/rollouts/{rollout}/rollback", tags=["rollouts"], status_code=204)
def roll_back(actor: Operator, plane: ThePlane, rollout: Named, wanted: TakeBack) -> Response:
    """Take a running rollout back."""
    with plane.database.change() as connection:
        conducting.take_back(connection, actor, rollout, wanted.reason, plane.clock())
    return Response(status_code=204)


@router.get("/tokens", tags=["tokens"])
def list_tokens(_: Admin, plane: ThePlane) -> list[Json]:
    """All tokens, without the secrets."""
    with plane.database.look() as connection:
        return list(people.list_tokens(connection))


@router.post("/tokens", tags=["tokens"], status_code=201)
def make_api_token(actor: Admin, plane: ThePlane, wanted: NewToken) -> MadeToken:
    """A new token, shown this once."""
    with plane.database.change() as connection:
        identity, token = people.make_token(connection, actor, wanted.name, wanted.role, plane.clock())
    return MadeToken(id=identity, token=token)


@router.delete("/tokens/{identity}", tags=["tokens"], status_code=204)
def revoke_token(actor: Admin, plane: ThePlane, identity: Named) -> Response:
    """Let a token be good no more."""
    with plane.database.change() as connection:
        people.revoke_token(connection, actor, identity, plane.clock())
    return Response(status_code=204)


@router.get("/audit", tags=["audit"])
def read_audit(
    _: Viewer, plane: ThePlane, before: int | None = None, most: Annotated[int, Query(ge=1, le=1000)] = 100
) -> list[Json]:
    """Who changed what and when, the newest first; `before` is the last id of the page before."""
    with plane.database.look() as connection:
        return list(people.read_audit(connection, before=before, most=most))


@router.get("/events", tags=["events"], response_class=StreamingResponse)
async def events(_: Viewer, plane: ThePlane) -> StreamingResponse:
    """Server-sent events: `{"revision": N}` at once and after each change."""
    return StreamingResponse(revisions(plane), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def revisions(plane: Plane) -> AsyncIterator[str]:
    """The number of changes at once and after each; a comment in quiet times, so that a dead connection is found."""
    told = -1
    while not plane.bell.closed:
        revision = plane.bell.revision
        if revision != told:
            told = revision
            yield f"data: {json.dumps({'revision': revision})}\n\n"
        else:
            yield ": quiet\n\n"
        await plane.bell.wait(told, PING_S)


def invited(plane: Plane, actor: Actor, wanted: Invitation) -> dict[str, Any]:
    """Invite a device; its token, as `isthmus enroll device` reads it, where there is an authority."""
    with plane.database.change() as connection:
        fleet.invite(connection, actor, wanted.name, plane.clock())
    if plane.authority is None or plane.settings.enrolment is None:
        return {"name": wanted.name, "token": None}
    tier = f"{plane.settings.enrolment.reached_as}:{plane.enrolment_port}"
    token = make_token(plane.authority, wanted.name, tier, wanted.hours)
    return {"name": wanted.name, "token": token.model_dump()}


def _publish(plane: Plane, actor: Actor, incoming: Any) -> tuple[Published, bool]:
    shelved = plane.shelf.take(incoming)
    try:
        with plane.database.change() as connection:
            fresh = fleet.publish(connection, actor, shelved, plane.clock())
    except Conflict:
        plane.shelf.path(shelved.digest).unlink(missing_ok=True)
        raise
    with plane.database.look() as connection:
        found = next(one for one in fleet.list_bundles(connection) if one.digest == shelved.digest)
    _log.info("bundle %s of %s, counter %d, is published", found.digest[:16], found.model_id, found.counter)
    return found, fresh
