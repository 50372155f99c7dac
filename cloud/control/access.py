"""Who sends a request: found out before anything else of it is looked at."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Path, Request

from cloud.control.errors import NotAllowed, NotSignedIn
from cloud.control.fleet import is_shut_out
from cloud.control.messages import NAME
from cloud.control.people import Actor, Role, actor_of
from cloud.control.plane import Plane
from transport.admission import Caller

PEER = "isthmus.peer"
"""Key of the caller's certificate in a request's scope; see `cloud.control.listening`."""


def plane_of(request: Request) -> Plane:
    """The running control plane."""
    return cast(Plane, request.app.state.plane)


ThePlane = Annotated[Plane, Depends(plane_of)]


def signed_in(request: Request, plane: ThePlane) -> Actor:
    """Whose token the request carries.

    Raises:
        NotSignedIn: nobody's.
    """
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token:
        raise NotSignedIn("this takes a token: Authorization: Bearer isthmus_...")
    with plane.database.look() as connection:
        return actor_of(connection, token.strip())


SignedIn = Annotated[Actor, Depends(signed_in)]


def _viewer(actor: SignedIn) -> Actor:
    actor.require(Role.VIEWER)
    return actor


def _operator(actor: SignedIn) -> Actor:
    actor.require(Role.OPERATOR)
    return actor


def _admin(actor: SignedIn) -> Actor:
    actor.require(Role.ADMIN)
    return actor


Viewer = Annotated[Actor, Depends(_viewer)]
Operator = Annotated[Actor, Depends(_operator)]
Admin = Annotated[Actor, Depends(_admin)]


def _device(request: Request, plane: ThePlane, name: Annotated[str, Path(pattern=NAME)]) -> Actor:
    """The device whose door this is. Over TLS its certificate has to say so; without, only this machine gets here.

    Raises:
        NotSignedIn, NotAllowed: it is not.
    """
    if "origin" in request.headers:
        raise NotAllowed("this door is for devices, not for web pages")
    if request.url.scheme == "https":
        caller = cast("Caller | None", request.scope.get(PEER))
        if caller is None:
            raise NotSignedIn("a device shows its certificate here; enrol it: isthmus enroll device")
        if plane.revoked is not None and caller in plane.revoked:
            raise NotAllowed("this certificate has been revoked; enrol again")
        if caller.name != name:
            raise NotAllowed(f"this certificate is {caller.name}'s, and this door is {name}'s")
    with plane.database.look() as connection:
        if is_shut_out(connection, name):
            raise NotAllowed(f"device {name} has been shut out here; an operator can let it in again")
    return Actor(name, Role.DEVICE)


Device = Annotated[Actor, Depends(_device)]
