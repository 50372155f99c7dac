"""Who asks: people and programs by token, devices by certificate, and what each role may do.

A token is 256 random bits, shown once; only its SHA-256 is kept. A slow hash would guard a password, which can be
guessed; nobody guesses this.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, insert, select, update

from cloud.control.errors import NotAllowed, NotKnown, NotSignedIn
from cloud.control.tables import audit, tokens

PREFIX: Final = "isthmus_"
"""Begins every token, so that scanners for leaked secrets find them."""


class Role(StrEnum):
    """Each may do what the one before may."""

    DEVICE = "device"
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


_RANK: Final = {Role.DEVICE: 0, Role.VIEWER: 1, Role.OPERATOR: 2, Role.ADMIN: 3}


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something."""

    name: str
    role: Role

    def may(self, role: Role) -> bool:
        """Whether this role, or a higher one, is theirs."""
        return _RANK[self.role] >= _RANK[role]

    def require(self, role: Role) -> None:
        """Go on only with this role or a higher one.

        Raises:
            NotAllowed: it is not.
        """
        if not self.may(role):
            raise NotAllowed(f"{self.name} is {self.role} here, and this takes {role}; ask an admin for another token")


ITSELF: Final = Actor("control plane", Role.ADMIN)
"""Does what follows from the figures."""


def make_token(connection: Connection, actor: Actor, name: str, role: Role, now_s: float) -> tuple[str, str]:
    """A new token's id and the token, which is shown this once."""
    identity, token = secrets.token_hex(4), PREFIX + secrets.token_urlsafe(32)
    connection.execute(
        insert(tokens).values(id=identity, name=name, role=role.value, hash=_hash(token), created_at=now_s)
    )
    note(connection, actor, "make token", identity, {"name": name, "role": role.value}, now_s)
    return identity, token


def revoke_token(connection: Connection, actor: Actor, identity: str, now_s: float) -> None:
    """Let a token be good no more.

    Raises:
        NotKnown: there is none of this id that is still good.
    """
    ended = update(tokens).where(tokens.c.id == identity, tokens.c.revoked_at.is_(None)).values(revoked_at=now_s)
    if not connection.execute(ended).rowcount:
        raise NotKnown(f"there is no valid token {identity!r}; isthmus fleet tokens lists them")
    note(connection, actor, "revoke token", identity, {}, now_s)


def list_tokens(connection: Connection) -> Sequence[dict[str, Any]]:
    """All tokens, without what would let anyone use them."""
    columns = (tokens.c.id, tokens.c.name, tokens.c.role, tokens.c.created_at, tokens.c.revoked_at)
    return [dict(row._mapping) for row in connection.execute(select(*columns).order_by(tokens.c.created_at))]


def actor_of(connection: Connection, token: str) -> Actor:
    """Whose token this is. Raises as `identify`."""
    return identify(connection, token)[1]


def is_valid(connection: Connection, identity: str) -> bool:
    """Whether a token has not been revoked."""
    wanted = select(tokens.c.id).where(tokens.c.id == identity, tokens.c.revoked_at.is_(None))
    return connection.execute(wanted).first() is not None


def identify(connection: Connection, token: str) -> tuple[str, Actor]:
    """A token's id, and whose it is.

    Raises:
        NotSignedIn: nobody's.
    """
    found = connection.execute(
        select(tokens).where(tokens.c.hash == _hash(token), tokens.c.revoked_at.is_(None))
    ).one_or_none()
    if found is None:
        raise NotSignedIn("this token is not valid here; ask an admin for one: isthmus fleet token")
    return str(found.id), Actor(found.name, Role(found.role))


def note(connection: Connection, actor: Actor, action: str, of: str, details: dict[str, Any], now_s: float) -> None:
    """Write what happens into the audit log, in the transaction of the change itself."""
    connection.execute(
        insert(audit).values(at=now_s, who=actor.name, role=actor.role.value, action=action, object=of, details=details)
    )


def read_audit(connection: Connection, *, before: int | None = None, most: int = 100) -> Sequence[dict[str, Any]]:
    """The last entries, the newest first; `before` is an entry's id, for the page after it."""
    wanted = select(audit).order_by(audit.c.id.desc()).limit(most)
    if before is not None:
        wanted = wanted.where(audit.c.id < before)
    return [dict(row._mapping) for row in connection.execute(wanted)]


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
