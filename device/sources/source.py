"""The seam: what a source gives, and what the agent asks of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

Clock = Callable[[], float]
Content = NDArray[Any] | str
"""An array without a batch axis; or the reason why there is none."""
Item = tuple[str, Content]
"""Name and content, before it is known when it was captured."""


@dataclass(frozen=True, slots=True)
class Captured:
    """One item of a source.

    `captured_s` is when it was due, on the clock of the source: a capture that the machine delays is late, not younger.
    """

    name: str
    captured_s: float
    content: Content
    key: str = ""
    """Stable name of this capture where whoever gave it chose one; empty: the agent makes one."""
    kept: bool = False
    """Whether the spool holds it already."""
    scene: int = 0
    """Of a still scene, its number; 0 where nobody has looked."""
    importance: float = 1.0
    """How many usual frames it is worth; see `adaptation.snapshot.Snapshot`."""


class Source(Protocol):
    """Yields captured items until it has no more or is closed."""

    @property
    def interval_s(self) -> float:
        """Between two items, as far as decisions need it."""

    def frames(self) -> AsyncGenerator[Captured, None]:
        """The items, in order, each no earlier than it is due."""

    def samples(self, number: int) -> list[NDArray[Any]]:
        """Up to so many readable items, without waiting for any to be due; none where only time can tell. Blocks."""
