"""What a caller of a tier tells its owner: the session's events, and the loss of a stream."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.events import Answered, Probed, Refused, Welcomed

__all__ = ["Answered", "ClientEvent", "Lost", "Probed", "Refused", "Welcomed"]


@dataclass(frozen=True, slots=True)
class Lost:
    """The stream broke: no answer will come for these frames. Follows each `Welcomed`, even with none in flight."""

    frames: tuple[int, ...]
    reason: str


ClientEvent = Welcomed | Answered | Refused | Probed | Lost
"""A `Refused` with `refusal.id` 0 is of the stream as a whole."""
