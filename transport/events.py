"""What a `FrameClient` tells its owner."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.messages import Refusal, Result, Welcome


@dataclass(frozen=True, slots=True)
class Ready:
    """A stream is up; frames may be sent."""

    welcome: Welcome


@dataclass(frozen=True, slots=True)
class Answered:
    """A frame has its result."""

    result: Result


@dataclass(frozen=True, slots=True)
class Refused:
    """A frame was refused, or with `refusal.id` 0 the stream."""

    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Probed:
    """A probe came back."""

    id: int


@dataclass(frozen=True, slots=True)
class Lost:
    """The stream broke: no answer will come for these frames. Follows each `Ready`, even with no frame in flight."""

    frames: tuple[int, ...]
    reason: str


ClientEvent = Ready | Answered | Refused | Probed | Lost
