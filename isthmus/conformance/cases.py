"""What a case is, and the list of all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from isthmus.conformance.target import Target

Check = Callable[[Target], None]


class Deviation(Exception):
    """The server does something else than was expected; the sentence says what."""


class Inapplicable(Exception):
    """The case cannot be put to this server: it does not offer the extension, or its model does not allow it."""


class Way(Enum):
    """How a case reaches the server."""

    REST = "rest"
    GRPC = "grpc"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Case:
    """One question to a server.

    Attributes:
        name: unique; dotted, the area first.
        clause: where the protocol says so.
        expects: what a conforming server does, in a few words.
        way: what the server must speak for it.
        extension: that the server must name in its metadata, or "".
        check: looks; raises `Deviation` or `Inapplicable`.
    """

    name: str
    clause: str
    expects: str
    way: Way
    extension: str
    check: Check


class Area:
    """Cases about one thing.

    Args:
        name: begins the names of the cases.
        clause: where the protocol speaks of it.
        way: how its cases reach the server.
        extension: what the server must offer for them.
    """

    def __init__(self, name: str, clause: str, way: Way, extension: str = "") -> None:
        self._name = name
        self._clause = clause
        self._way = way
        self._extension = extension
        self._cases: list[Case] = []

    def __iter__(self) -> Iterator[Case]:
        return iter(self._cases)

    def case(self, name: str, expects: str, *, clause: str = "") -> Callable[[Check], Check]:
        """Make a function a case of this area; `clause` replaces the area's."""

        def register(check: Check) -> Check:
            self.add(name, expects, check, clause=clause)
            return check

        return register

    def add(self, name: str, expects: str, check: Check, *, clause: str = "") -> None:
        """The same for a function that is made."""
        full = f"{self._name}.{name}"
        self._cases.append(Case(full, clause or self._clause, expects, self._way, self._extension, check))


def require(holds: bool, found: str) -> None:
    """Raises:
    Deviation: it does not hold; `found` says what there was instead.
    """
    if not holds:
        raise Deviation(found)


_SHOWN: Final = 160


def shown(value: object) -> str:
    """A value in a sentence."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
