"""Errors inside a tier. Each becomes a typed refusal of one frame, except the first, which ends the program.

IsthmusError                      protocol.errors
└── ServingError                  base of this room
    ├── TwiceServed               two bundles of one digest were configured (exit code 2)
    ├── Overloaded                the queue is full
    ├── TooLate                   the frame can no longer be in time
    └── UpstreamUnreachable       the tier above cannot be asked, or went away before it answered
"""

from __future__ import annotations

from protocol.errors import IsthmusError


class ServingError(IsthmusError):
    """Base of all errors of this room."""


class TwiceServed(ServingError):
    """The same bundle is configured twice. For a person to read."""

    exit_code = 2


class Overloaded(ServingError):
    """Too much waits already; refuse the frame and say when to come back.

    Attributes:
        wait_us: how long a frame arriving now would wait.
    """

    def __init__(self, wait_us: int) -> None:
        super().__init__("this tier has too many frames waiting; come back later or use another")
        self.wait_us = wait_us


class TooLate(ServingError):
    """The time left is less than the work has ever taken; refuse the frame as expired."""


class UpstreamUnreachable(ServingError):
    """No answer will come from the tier above; finish the frame here."""
