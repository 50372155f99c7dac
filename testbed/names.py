"""Names that a person typed, against those that exist: a mistake is answered with the nearest one."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping


def nearest(name: str, known: Iterable[str]) -> str:
    """What to say about a name that does not exist: `did you mean 'edge'? (known: cloud, edge)`."""
    names = sorted(known)
    listed = f"(known: {', '.join(names) or 'none'})"
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    return f"did you mean {close[0]!r}? {listed}" if close else f"choose another {listed}"


def require(name: str, known: Iterable[str], what: str) -> None:
    """Refuse a name that is not among the known ones.

    Args:
        what: a noun for the sentence, such as "link".

    Raises:
        ValueError: for pydantic and for `ScenarioError`; the sentence has the nearest name.
    """
    names = list(known)
    if name not in names:
        raise ValueError(f"there is no {what} {name!r}; {nearest(name, names)}")


def checks_kind(*kinds: str) -> Callable[[object], object]:
    """A pydantic validator that looks at `kind` before the table is matched with a class."""

    def check(table: object) -> object:
        if isinstance(table, Mapping):
            if "kind" not in table:
                raise ValueError(f"it has no kind; add one of {', '.join(sorted(kinds))}")
            require(str(table["kind"]), kinds, "kind")
        return table

    return check
