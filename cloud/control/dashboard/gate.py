"""Signing in and out of the pages, and what every page and every form has to show first."""

from __future__ import annotations

import hmac
import logging
from dataclasses import dataclass
from typing import Annotated, Final, cast
from urllib.parse import parse_qs, quote, urlsplit

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from cloud.control import people
from cloud.control.access import ThePlane
from cloud.control.dashboard.sessions import Session, Sessions, Throttle
from cloud.control.dashboard.showing import page
from cloud.control.errors import NotAllowed, NotSignedIn, Refused
from cloud.control.people import Role

SIGN_IN: Final = "/sign-in"
_FIELD: Final = "form_secret"
_log = logging.getLogger(__name__)
router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Gate:
    """Kept in the application's state."""

    sessions: Sessions
    throttle: Throttle


class TooManyTries(Refused):
    """An address that has failed too often has to wait."""

    status = 429


class SignInFirst(NotSignedIn):
    """A page for which one has to be signed in; answered by the page to sign in on."""


def gate_of(request: Request) -> Gate:
    """The application's."""
    return cast(Gate, request.app.state.gate)


TheGate = Annotated[Gate, Depends(gate_of)]


def session_of(request: Request, plane: ThePlane, gate: TheGate) -> Session:
    """The caller's session.

    Raises:
        SignInFirst: there is none, or its token has been revoked.
    """
    session = gate.sessions.find(request.cookies.get(_cookie_name(request), ""))
    if session is None:
        raise SignInFirst("sign in first")
    with plane.database.look() as connection:
        if not people.is_valid(connection, session.token_id):
            raise SignInFirst("your token has been revoked; sign in with another")
    return session


SignedIn = Annotated[Session, Depends(session_of)]


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form that came from a page of ours.

    Raises:
        NotAllowed: another site sent it.
    """
    _require_same_origin(request)
    found = parse_qs((await request.body()).decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=50)
    return {name: values[-1].strip() for name, values in found.items()}


Form = Annotated[dict[str, str], Depends(form_of)]


def _operator_form(session: SignedIn, form: Form) -> dict[str, str]:
    """The fields of a form that this very session was given, sent by an operator.

    Raises:
        NotAllowed: it was not, or the role does not cover it.
    """
    _require_secret(form, session)
    session.actor.require(Role.OPERATOR)
    return {name: value for name, value in form.items() if name != _FIELD}


OperatorForm = Annotated[dict[str, str], Depends(_operator_form)]


@router.get(SIGN_IN)
def sign_in_page(request: Request, to: str = "/") -> Response:
    """The form to sign in with a token."""
    return page(request, "sign_in.html", None, {"error": None, "to": _local(to)})


@router.post(SIGN_IN)
def sign_in(request: Request, plane: ThePlane, gate: TheGate, form: Form) -> Response:
    """Begin a session; its cookie is new, whatever was sent."""
    address, to = request.client.host if request.client else "", _local(form.get("to", "/"))
    wait_s = gate.throttle.wait_s(address)
    if wait_s > 0:
        error = f"Too many tries from here. Wait {wait_s / 60:.0f} minutes."
        answer = page(request, "sign_in.html", None, {"error": error, "to": to}, TooManyTries.status)
        answer.headers["Retry-After"] = f"{wait_s:.0f}"
        return answer
    try:
        with plane.database.look() as connection:
            token_id, actor = people.identify(connection, form.get("token", ""))
    except NotSignedIn:
        gate.throttle.failed(address)
        _log.warning("somebody at %s tried to sign in with a token that is not valid", address)
        error = "This token is not valid here. Ask an admin for one."
        return page(request, "sign_in.html", None, {"error": error, "to": to}, NotSignedIn.status)
    gate.throttle.succeeded(address)
    gate.sessions.end(request.cookies.get(_cookie_name(request), ""))
    answer = RedirectResponse(to, 303)
    answer.set_cookie(
        _cookie_name(request), gate.sessions.begin(token_id, actor), httponly=True, samesite="strict", path="/",
        secure=request.url.scheme == "https",
    )  # fmt: skip
    return answer


@router.post("/sign-out")
def sign_out(request: Request, gate: TheGate, session: SignedIn, form: Form) -> Response:
    """End the session."""
    _require_secret(form, session)
    gate.sessions.end(request.cookies.get(_cookie_name(request), ""))
    answer = RedirectResponse(SIGN_IN, 303)
    answer.delete_cookie(_cookie_name(request), path="/")
    return answer


def to_sign_in(request: Request) -> Response:
    """Where somebody goes who is not signed in."""
    wanted = request.url.path if request.method == "GET" else "/"
    return RedirectResponse(f"{SIGN_IN}?to={quote(wanted)}", 303)


def _cookie_name(request: Request) -> str:
    """Over TLS a name that browsers take from this very host only (RFC 6265bis, `__Host-`)."""
    return "__Host-isthmus" if request.url.scheme == "https" else "isthmus"


def _require_secret(form: dict[str, str], session: Session) -> None:
    if not hmac.compare_digest(form.get(_FIELD, "").encode(), session.form_secret.encode()):
        raise NotAllowed("this form is out of date or not ours; load the page again")


def _require_same_origin(request: Request) -> None:
    """Browsers say where a form was sent from; whoever says nothing is no browser, and has no cookie to abuse."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise NotAllowed("this form was sent by a page of another site")
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise NotAllowed("this form was sent by a page of another site")


def _local(path: str) -> str:
    """A path of ours, never another site."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) else "/"
