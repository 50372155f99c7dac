"""Who is signed in to the pages, and how often an address has tried and failed.

As OWASP's cheat sheets on sessions, cross-site request forgery and authentication advise: random ids that change at
sign-in, kept only as hashes, cookies that scripts cannot read and other sites cannot send, an end after idle and after
all, a secret in every form, and a pause after repeated failures. All this is memory: a restart signs everyone out.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cloud.control.people import Actor

IDLE_S: Final = 3600.0
MOST_SESSIONS: Final = 1000
TRIES: Final = 5
"""Failures of one address after which it has to wait."""
PAUSE_S: Final = 300.0
MOST_ADDRESSES: Final = 10_000


@dataclass(slots=True)
class Session:
    """One signed-in browser."""

    token_id: str
    """Of the token that it signed in with: revoking that ends the session."""
    actor: Actor
    began_s: float
    seen_s: float
    form_secret: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    """Every form carries it; a page of another site cannot know it."""
    messages: list[str] = field(default_factory=list)
    """To be shown on the next page."""


class Sessions:
    """Safe to share between threads.

    Args:
        clock: monotonic seconds.
        longest_s: after which a browser has to sign in again.
    """

    def __init__(self, clock: Callable[[], float], longest_s: float) -> None:
        self._clock = clock
        self._longest_s = longest_s
        self._lock = threading.Lock()
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def begin(self, token_id: str, actor: Actor) -> str:
        """A new session; the cookie's value."""
        cookie, now_s = secrets.token_urlsafe(32), self._clock()
        with self._lock:
            self._sessions[_hash(cookie)] = Session(token_id, actor, now_s, now_s)
            while len(self._sessions) > MOST_SESSIONS:
                self._sessions.popitem(last=False)
        return cookie

    def find(self, cookie: str) -> Session | None:
        """The session of a cookie, if it has not ended."""
        key, now_s = _hash(cookie), self._clock()
        with self._lock:
            session = self._sessions.get(key)
            if session is None:
                return None
            if now_s - session.seen_s > IDLE_S or now_s - session.began_s > self._longest_s:
                del self._sessions[key]
                return None
            session.seen_s = now_s
            self._sessions.move_to_end(key)
            return session

    def end(self, cookie: str) -> None:
        """Sign out."""
        with self._lock:
            self._sessions.pop(_hash(cookie), None)


class Throttle:
    """Counts failures by address, and says how long one has to wait. Safe to share between threads.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """Until the next try is looked at; 0 if now."""
        with self._lock:
            count, last_s = self._failures.get(address, (0, 0.0))
            return max(0.0, last_s + PAUSE_S - self._clock()) if count >= TRIES else 0.0

    def failed(self, address: str) -> None:
        """A try that was no good."""
        with self._lock:
            count, last_s = self._failures.get(address, (0, 0.0))
            count = 1 if self._clock() - last_s > PAUSE_S else count + 1
            self._failures[address] = (count, self._clock())
            self._failures.move_to_end(address)
            while len(self._failures) > MOST_ADDRESSES:
                self._failures.popitem(last=False)

    def succeeded(self, address: str) -> None:
        """Begin to count anew."""
        with self._lock:
            self._failures.pop(address, None)


def _hash(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()
