"""The seam: what a sink is given, and what it promises."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One answer for those who use it. Field names are the keys of its JSON; see docs/device.md."""

    key: str
    """Stable name of the frame: the same frame has the same key however often it is delivered."""
    device: str
    bundle: str
    """First 16 hexadecimal digits of the bundle's digest."""
    source: str
    captured_at: float
    """Unix seconds."""
    answered_at: float
    """Unix seconds."""
    by: str
    exit: bool
    route: str | None
    cut: int | None
    level: int | None
    label: int | None
    name: str | None
    """The label in words, where the bundle has them."""
    confidence: float | None
    in_time: bool
    late: bool
    """Whether it was kept in the spool and answered when it could be."""

    def to_json(self) -> str:
        """One line without its end."""
        return json.dumps(asdict(self), separators=(",", ":"))


class Sink(Protocol):
    """Takes answers. Called from one thread of its own; may block."""

    def put(self, deliveries: Sequence[Delivery]) -> None:
        """Take answers; when this returns they are where they belong, as the sink's own page says.

        Raises:
            SinkError: none or only some of them; all will be offered again.
        """

    def close(self) -> None:
        """Nothing more comes."""
