"""A frame's work as the scheduler sees it: steps to go through, by a deadline, for somebody."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final, TypeAlias

Step: TypeAlias = Hashable
"""One piece of work that may be done for several frames at once, such as a segment. Frames that stand at equal steps
may be batched, wherever they came from."""


class Path:
    """All steps of one kind of frame, in order. Compared by identity: make one for each kind and keep it."""

    __slots__ = ("steps",)

    def __init__(self, *steps: Step) -> None:
        self.steps = steps

    def __len__(self) -> int:
        return len(self.steps)


@dataclass(eq=False, slots=True)
class Job:
    """One frame on its way through the steps of its path.

    Attributes:
        sender: whose share of the tier it uses.
        deadline_s: when it must be through; on the caller's clock, as all times here.
        path: all of its steps.
        position: index of its next step; the length of the path once it is through.
        score: what is lost if it is not done here. It may push out others of its rank that lose less, together.
        spare: whether it is done only when nothing else is to be done, and promised nothing.
        offered_s: when it came.
        rank: where its sender stood then among all; see `shares`.
        greedy: whether its sender had several times what is usual; then it may not cost others much.
        cost_s: what its sender was charged for it.
        most: the largest batch that its patience allows, as costs were known when it came.
    """

    sender: str
    deadline_s: float
    path: Path
    position: int = 0
    score: float = 0.0
    spare: bool = False
    offered_s: float = field(default=0.0, init=False)
    rank: float = field(default=0.0, init=False)
    greedy: bool = field(default=False, init=False)
    cost_s: float = field(default=0.0, init=False)
    most: int = field(default=1, init=False)

    @property
    def step(self) -> Step:
        """Its next step."""
        return self.path.steps[self.position]

    @property
    def yields(self) -> bool:
        """Whether it goes into batches of others only where that costs them little."""
        return self.greedy or self.spare

    @property
    def through(self) -> bool:
        """Whether no step is left."""
        return self.position == len(self.path.steps)


order: Final = attrgetter("rank", "deadline_s")
"""Key of the order in which jobs go: by rank, and the earliest deadline first among equals."""


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """Do this step for these jobs, now. At least one, the most urgent first."""

    step: Step
    jobs: tuple[Job, ...]
    began_s: float
    expected_s: float
    """How long it should take."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing before this time, unless a job comes: waiting for company costs less than it saves."""

    until_s: float


@dataclass(frozen=True, slots=True)
class Refused:
    """A job that was not taken, or was turned out again before its turn.

    Attributes:
        late: its deadline could not be kept even by an idle tier; otherwise it may come again.
        retry_after_s: when a job like it would be in time, as far as can be known; 0 where `late`.
    """

    job: Job
    late: bool
    retry_after_s: float = 0.0
