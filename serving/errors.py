"""Errors inside a tier. Each becomes a typed refusal of one frame, except the first four, which end the program.

IsthmusError                      protocol.errors
└── ServingError                  base of this room
    ├── TwiceServed               two bundles of one digest were configured (exit code 2)
    ├── WorthOfNone               the worth of a model is set that is not served (exit code 2)
    ├── OperationsUnusable        the port for operators cannot be bound (exit code 4)
    ├── PartBroken                a part has ended by itself (exit code 1)
    ├── Overloaded                the frame could not be in time behind what is here already
    ├── TooLate                   the frame can no longer be in time
    ├── StateLost                 the state that the frame goes on from is not here
    └── UpstreamUnreachable       the tier above cannot be asked, or went away before it answered
"""

from __future__ import annotations

from collections.abc import Collection

from protocol.errors import IsthmusError


class ServingError(IsthmusError):
    """Base of all errors of this room."""


class TwiceServed(ServingError):
    """The same bundle is configured twice. For a person to read."""

    exit_code = 2


class WorthOfNone(ServingError):
    """A model whose answers are given a worth is not served here. For a person to read."""

    exit_code = 2

    def __init__(self, model: str, served: Collection[str]) -> None:
        super().__init__(
            f"relay.worth names {model!r}, of which there is no bundle here; name one of {', '.join(sorted(served))}"
        )


class OperationsUnusable(ServingError):
    """The port for health and figures cannot be bound. For a person to read."""

    exit_code = 4

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(
            f"port {port} on {host} cannot be used for operations: {reason}; set operations.host and operations.port"
        )


class PartBroken(ServingError):
    """A part that should run as long as the program has ended: a defect. For whoever starts the program again."""

    exit_code = 1

    def __init__(self, part: str, cause: BaseException | None) -> None:
        why = "without an error" if cause is None else f"with {type(cause).__name__}: {cause}"
        super().__init__(
            f"the {part} ended by itself, {why}; this is a defect: report it with the log, and start the tier again"
        )


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
