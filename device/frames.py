"""A frame between capture and end: what the agent holds of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from numpy.typing import NDArray

from adaptation.plan import Choice, Route
from transport.tracing import NOBODY, Span


class Step(Enum):
    """Where an open frame is."""

    WAITING = auto()
    """For the device to take it up, or to take it up again."""
    COMPUTING = auto()
    SENT = auto()
    ENDED = auto()


@dataclass(slots=True, eq=False)
class OpenFrame:
    """One frame; times are on the agent's clock.

    `activation` is what the device has come to: the tensor of cut `reached` with a batch axis, from which a frame that
    gets no answer can go on.
    """

    id: int
    name: str
    image: NDArray[Any]
    captured_s: float
    deadline_s: float
    activation: NDArray[Any]
    reached: int = 0
    step: Step = Step.WAITING
    choice: Choice | None = None
    payload: bytes = b""
    message_bytes: int = 0
    """Sent for it, in all attempts."""
    front_of: Choice | None = None
    """What was sent, where its payload was cut short on the way: `choice` then is the level that is left of it."""
    front_bytes: int = 0
    """What is left of the payload then."""
    device_s: float = 0.0
    head_s: float = 0.0
    """The part of `device_s` that led to `reached`."""
    sent_s: float = 0.0
    hedge_s: float = 0.0
    """Spent on going on locally while an answer was awaited."""
    failed: set[Route] = field(default_factory=set)
    hedged: bool = False
    """Whether it goes, or went, on locally besides."""
    awaited: bool = True
    """Whether its tier may still answer: not once it was told not to, refused, or was lost."""
    explain: Callable[[], dict[str, Any]] | None = None
    """Tells what was known when it was decided (`adaptation.explaining`). Asked at its end: to tell takes a while."""
    timer: asyncio.TimerHandle | None = None
    held: asyncio.TimerHandle | None = None
    """Hands out the local answer when the tier's has not come until then."""
    key: str = ""
    """Stable name, for sinks and spool."""
    captured_at: float = 0.0
    """Unix seconds, by the wall clock when it was taken in."""
    kept: bool = False
    """Whether the spool holds it."""
    importance: float = 1.0
    """How many usual frames it is worth."""
    exit_confidence: float | None = None
    """Of the exit that was asked first; None if none was."""
    scene: int = 0
    """What the prefilter says that it shows; see `device.stillness`."""
    late: bool = False
    """Whether it comes from the spool."""
    told: Callable[[], None] | None = None
    """Called when it has ended."""
    span: Span = NOBODY
    """What is told of it where it is followed over all tiers."""
    kept_answer: tuple[Choice, NDArray[Any]] | None = None
    """That answer: whose it is, and its logits."""

    @property
    def ended(self) -> bool:
        """Whether its line is written."""
        return self.step is Step.ENDED
