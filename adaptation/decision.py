"""What comes out of a decision. All frozen; all times in seconds on the caller's one clock."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from adaptation.plan import Choice


@dataclass(frozen=True, slots=True)
class ExitFirst:
    """An exit on the way to a cut: its answer is final if it is at least so confident, else the frame goes on.

    Attributes:
        cut: of the exit; not behind the choice's.
        confidence: 0 to 1.
    """

    cut: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Hedge:
    """A local continuation that is worth starting now.

    Attributes:
        key: of the frame in flight.
        choice: the device answer to go on to.
        device_s: what that still takes.
        chance: that the remote answer comes in time after all.
        gain: expected worth, the compute's price taken off.
    """

    key: Hashable
    choice: Choice
    device_s: float
    chance: float
    gain: float


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done with a frame.

    Attributes:
        choice: None gives the frame up: end it now, with `reason`.
        expected_s: expected seconds from `now_s` to the answer, each possibility counted at most up to the deadline.
        first: if set, a hedge has to run before this frame is taken up; decide again after it.
        in_time: probability that the answer comes before the deadline.
        reason: one short phrase, for the history and for people.
        exit_first: for a choice that leaves the device, the exit that is asked before.
        lost: what it is predicted to be worth less than the best, to try a part that has not run for long.
    """

    choice: Choice | None
    expected_s: float
    in_time: float
    reason: str
    first: Hedge | None = None
    exit_first: ExitFirst | None = None
    lost: float = 0.0
