"""What faults do to programs in simulated time: dead, standing still, or left with a share of their processor."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from testbed.scenarios.faults import Fault, Occurrence
from testbed.scenarios.faults.bad_bundle import BadBundle
from testbed.scenarios.faults.expired_certificate import ExpiredCertificate
from testbed.scenarios.faults.kill import Kill
from testbed.scenarios.faults.pause import Pause
from testbed.scenarios.faults.steal import Steal

RESTART_S = 2.0
"""From the start of a tier's program until devices are connected to it again."""

ENDING = (Kill, BadBundle, ExpiredCertificate)
"""Faults with which a tier is of no use until they end: it is dead, refuses to start, or nobody trusts it."""

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Absence:
    """Of one program.

    Attributes:
        dead, still: spans of time.
        slow: spans, and how many times longer the program takes in them.
    """

    dead: Sequence[Span] = ()
    still: Sequence[Span] = ()
    slow: Sequence[tuple[Span, float]] = ()

    @classmethod
    def of(cls, targets: Collection[str], faults: Mapping[str, Fault], occurrences: Sequence[Occurrence]) -> Absence:
        """By the faults that have one of these targets: a tier is away when the broker in front of it is."""
        dead: list[Span] = []
        still: list[Span] = []
        slow: list[tuple[Span, float]] = []
        for one in occurrences:
            fault, span = faults[one.name], (one.begins_s, math.inf if one.ends_s is None else one.ends_s)
            if fault.target not in targets:
                continue
            if isinstance(fault, ENDING):
                dead.append((span[0], span[1] + RESTART_S))
            elif isinstance(fault, Pause):
                still.append(span)
            elif isinstance(fault, Steal):
                slow.append((span, 1 / (1 - fault.share)))
        return cls(dead, still, slow)

    def __bool__(self) -> bool:
        return bool(self.dead or self.still or self.slow)

    def is_dead(self, at_s: float) -> bool:
        """Whether there is nobody at this time."""
        return any(begin_s <= at_s < end_s for begin_s, end_s in self.dead)

    def awake_s(self, at_s: float) -> float:
        """When it goes on with what it has at this time; infinite is never."""
        if self.is_dead(at_s):
            return math.inf
        return max([at_s, *(end_s for begin_s, end_s in self.still if begin_s <= at_s < end_s)])

    def factor(self, at_s: float) -> float:
        """How many times longer it takes at this time."""
        return max((longer for (begin_s, end_s), longer in self.slow if begin_s <= at_s < end_s), default=1.0)
