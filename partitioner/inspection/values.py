"""What a page shows, as plain values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator, in execution order.

    Attributes:
        reads: places of the operators whose tensors it takes.
        live_bytes: of all tensors that would cross behind it.
    """

    name: str
    kind: str
    reads: tuple[int, ...]
    macs: int
    bytes: int
    live_bytes: int


@dataclass(frozen=True, slots=True)
class SeenCut:
    """A cut behind operator `place`; `share` of the work lies in front."""

    name: str
    place: int
    bytes: int
    share: float
    shape: str
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """A model: operators of a captured network, or the segments of a bundle."""

    title: str
    facts: tuple[tuple[str, str], ...]
    operators: tuple[Operator, ...]
    cuts: tuple[SeenCut, ...]
