"""What operators do on the pages. Each ends by showing the page anew, with a sentence about what was done."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi import Path as InPath
from fastapi.responses import RedirectResponse
from pydantic import ValidationError

from cloud.control import conducting, fleet
from cloud.control.access import ThePlane
from cloud.control.dashboard.gate import OperatorForm, SignedIn
from cloud.control.dashboard.showing import page
from cloud.control.errors import Unfit
from cloud.control.for_operators import invited
from cloud.control.messages import DIGEST, NAME, Invitation
from cloud.control.rollouts import Rules

router = APIRouter(include_in_schema=False)
Named = Annotated[str, InPath(pattern=NAME)]


@router.post("/bundles/{digest}/rollout")
def start_rollout(
    plane: ThePlane, session: SignedIn, form: OperatorForm, digest: Annotated[str, InPath(pattern=DIGEST)]
) -> Response:
    """Begin a rollout."""
    rules = _rules(form)
    with plane.database.change() as connection:
        identity = conducting.start(connection, session.actor, digest, rules, plane.clock())
    return _done(session, "/rollouts", f"Rollout {identity} has begun.")


@router.post("/rollouts/{rollout}/rollback")
def roll_back(plane: ThePlane, session: SignedIn, form: OperatorForm, rollout: Named) -> Response:
    """Take a rollout back."""
    reason = form.get("reason", "")[:500] or "an operator took it back"
    with plane.database.change() as connection:
        conducting.take_back(connection, session.actor, rollout, reason, plane.clock())
    return _done(session, "/rollouts", f"Rollout {rollout} is taken back.")


@router.post("/devices/{name}/policy")
def set_policy(plane: ThePlane, session: SignedIn, form: OperatorForm, name: Named) -> Response:
    """Change a device's policy, or leave it to the device."""
    policy = _policy(form)
    with plane.database.change() as connection:
        fleet.set_policy(connection, session.actor, name, policy, plane.clock())
    told = "goes by its own settings again" if policy is None else f"is to choose by {policy['name']!r}"
    return _done(session, f"/devices/{name}", f"{name} {told}.")


@router.post("/devices/{name}/shut-out")
def shut_out(plane: ThePlane, session: SignedIn, form: OperatorForm, name: Named) -> Response:
    """Answer a device no more."""
    del form  # checked before this was called
    with plane.database.change() as connection:
        fleet.shut_out(connection, session.actor, name, plane.clock())
    return _done(session, f"/devices/{name}", f"{name} is shut out. Add it to listen.tls.revoked of the tiers as well.")


@router.post("/devices/{name}/let-in")
def let_in(plane: ThePlane, session: SignedIn, form: OperatorForm, name: Named) -> Response:
    """Answer it again."""
    del form
    with plane.database.change() as connection:
        fleet.invite(connection, session.actor, name, plane.clock())
    return _done(session, f"/devices/{name}", f"{name} may come in again.")


@router.post("/enroll")
def enroll(request: Request, plane: ThePlane, session: SignedIn, form: OperatorForm) -> Response:
    """Expect a device; its token is shown this once."""
    try:
        wanted = Invitation.model_validate({"name": form.get("name", ""), "hours": form.get("hours", "24")})
    except ValidationError as exc:
        raise Unfit("a name has 1 to 64 letters, digits, points, dashes and underscores; hours are a number") from exc
    made = invited(plane, session.actor, wanted)
    session.messages.append(f"{wanted.name} is expected.")
    values = {"token": made["token"], "name": wanted.name, "may": True, "authority": plane.authority is not None}
    return page(request, "enroll.html", session, values)


def _done(session: SignedIn, path: str, message: str) -> Response:
    session.messages.append(message)
    return RedirectResponse(path, 303)


def _rules(form: dict[str, str]) -> Rules:
    try:
        steps = [float(step) for step in form.get("steps", "").replace(",", " ").split()]
        given = {key: form[key] for key in ("min_frames", "hold_s") if form.get(key)}
        return Rules.model_validate({"steps": steps, **given})
    except ValueError as exc:
        raise Unfit("steps are shares that grow and end with 1, as in: 0.05 0.25 1; the rest are numbers") from exc


def _policy(form: dict[str, str]) -> dict[str, Any] | None:
    if not form.get("name"):
        return None
    numbers = {key: form[key] for key in ("cut", "level") if form.get(key)}
    try:
        policy: dict[str, Any] = {"name": form["name"], **{key: int(value) for key, value in numbers.items()}}
    except ValueError as exc:
        raise Unfit("cut and level are whole numbers") from exc
    return policy | ({"route": form["route"]} if form.get("route") else {})
