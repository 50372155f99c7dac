"""Errors inside a tier. Each becomes a typed refusal of one frame, except the first two, which end the program.

IsthmusError                      protocol.errors
└── ServingError                  base of this room
    ├── TwiceServed               two bundles of one digest were configured (exit code 2)
    ├── OperationsUnusable        the port for operators cannot be bound (exit code 4)
    ├── Overloaded                the frame could not be in time behind what is here already
    ├── TooLate                   the frame can no longer be in time
    ├── StateLost                 the state that the frame goes on from is not here
    └── UpstreamUnreachable       the tier above cannot be asked, or went away before it answered
"""

from __future__ import annotations

from protocol.errors import IsthmusError


class ServingError(IsthmusError):
    """Base of all errors of this room."""


class TwiceServed(ServingError):
    """The same bundle is configured twice. For a person to read."""

    exit_code = 2


class OperationsUnusable(ServingError):
    """The port for health and figures cannot be bound. For a person to read."""

    exit_code = 4

    def __init__(self, port: int, reason: str) -> None:
        super().__init__(f"port {port} on 127.0.0.1 cannot be used for operations: {reason}; set operations.port")


class Overloaded(ServingError):
    """Too much is here already; refuse the frame and say when to come back.

    Attributes:
        wait_us: after how long a frame like it might be taken.
    """

    def __init__(self, wait_us: int) -> None:
        super().__init__("this tier has too much to do to be in time; come back later or use another")
        self.wait_us = wait_us


class TooLate(ServingError):
    """The time left is less than the work has ever taken; refuse the frame as expired."""


class StateLost(ServingError):
    """The stream of the frame has to be sent again, as its state is not here.

    Attributes:
        step: from which on.
    """

    def __init__(self, step: int) -> None:
        super().__init__(f"the state of this stream is not here; send it again from step {step}")
        self.step = step


class UpstreamUnreachable(ServingError):
    """No answer will come from the tier above; finish the frame here."""
