"""Who calls, by certificate, and how much that caller may have. Callers without one exist on loopback only."""

from __future__ import annotations

import hashlib
import logging
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from protocol.errors import Code
from transport.settings import Quotas, Tls

_REREAD_S: Final = 1.0
"""How old the list of the revoked may be."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """The other end of a connection as its certificate names it.

    Attributes:
        name: the subject's common name.
        fingerprint: SHA-256 of the certificate (DER), in hexadecimal.
    """

    name: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """Why a stream or a frame is not taken."""

    code: Code
    detail: str
    retry_after_us: int = 0


class Revoked:
    """Names and fingerprints that are no longer welcome: a text file, one on each line, `#` begins a comment.

    The file is read again when it has changed. While it cannot be read, what it said last stays in force.
    """

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._looked_s = float("-inf")
        self._stamp: tuple[int, int] | None = None
        self._lines: frozenset[str] = frozenset()

    @classmethod
    def named_by(cls, tls: Tls | None, clock: Callable[[], float]) -> Self | None:
        """The list that a listener's TLS names; None where it names none."""
        return None if tls is None or tls.revoked is None else cls(tls.revoked, clock)

    def __contains__(self, caller: Caller) -> bool:
        now_s = self._clock()
        if now_s - self._looked_s >= _REREAD_S:
            self._looked_s = now_s
            self._read()
        return caller.name in self._lines or caller.fingerprint in self._lines

    def _read(self) -> None:
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_size)
            if stamp != self._stamp:
                lines = (line.partition("#")[0].strip() for line in self._path.read_text().splitlines())
                self._lines, self._stamp = frozenset(filter(None, lines)), stamp
        except (OSError, UnicodeDecodeError) as exc:
            _log.error(
                "the list of revoked callers %s cannot be read (%s); its last content stays in force", self._path, exc
            )


class Admission:
    """Counts streams and frames of each certified caller.

    Args:
        quotas: what each may have.
        revoked: tells whom to turn away, asked at each stream and frame.
        clock: monotonic seconds.
    """

    def __init__(self, quotas: Quotas, revoked: Revoked | None, clock: Callable[[], float]) -> None:
        self._quotas = quotas
        self._revoked = revoked
        self._clock = clock
        self._streams: Counter[str] = Counter()
        self._buckets: dict[str, tuple[float, float]] = {}
        """Name to frames left and when that was; kept while the name has a stream, or is not full again."""

    def enter(self, caller: Caller) -> TurnedAway | None:
        """A stream begins; `leave` must follow unless it is turned away."""
        if self._is_revoked(caller):
            return TurnedAway(Code.FORBIDDEN, "this caller's certificate has been revoked; enrol again")
        most = self._quotas.of(caller.name).streams
        if self._streams[caller.name] >= most:
            return TurnedAway(Code.OVERLOADED, f"{most} streams of this caller are open, and no more may be")
        self._streams[caller.name] += 1
        return None

    def leave(self, caller: Caller) -> None:
        """A stream that was let in has ended."""
        self._streams[caller.name] -= 1
        if not self._streams[caller.name]:
            del self._streams[caller.name]
            self._forget_the_full()

    def take(self, caller: Caller) -> TurnedAway | None:
        """A frame came; None lets it in."""
        if self._is_revoked(caller):
            return TurnedAway(Code.FORBIDDEN, "this caller's certificate has been revoked; enrol again")
        left, now_s = self._left(caller.name)
        if left < 1.0:
            wait_us = round((1.0 - left) / self._quotas.of(caller.name).frames_per_s * 1e6)
            return TurnedAway(Code.OVERLOADED, "this caller sends more frames than its quota; send fewer", wait_us)
        self._buckets[caller.name] = (left - 1.0, now_s)
        return None

    def _is_revoked(self, caller: Caller) -> bool:
        return self._revoked is not None and caller in self._revoked

    def _left(self, name: str) -> tuple[float, float]:
        now_s, quota = self._clock(), self._quotas.of(name)
        left, then_s = self._buckets.get(name, (float(quota.burst), now_s))
        return min(quota.burst, left + (now_s - then_s) * quota.frames_per_s), now_s

    def _forget_the_full(self) -> None:
        for name in [name for name in self._buckets if name not in self._streams]:
            if self._left(name)[0] >= self._quotas.of(name).burst:
                del self._buckets[name]


def caller_of(call: Any) -> Caller | None:
    """Whose certificate a gRPC call came with, which gRPC has checked; None where it came without TLS."""
    context = call.auth_context()
    names, certificates = context.get("x509_common_name"), context.get("x509_pem_cert")
    if not names or not certificates:
        return None
    certificate = ssl.PEM_cert_to_DER_cert(certificates[0].decode("ascii"))
    return Caller(names[0].decode(errors="replace"), hashlib.sha256(certificate).hexdigest())
