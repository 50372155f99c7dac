"""The policy that never changes its mind: the baseline every other one is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from adaptation.decision import Decision
from adaptation.errors import InvalidValue, UnknownPolicy
from adaptation.goal import Goal
from adaptation.plan import Choice, Route
from adaptation.snapshot import Snapshot
from adaptation.worth import usable, worth


@dataclass(frozen=True, slots=True)
class FixedPolicy:
    """Always the same choice; a frame is given up only where that choice cannot be carried out at all."""

    PARAMETERS: ClassVar[tuple[str, ...]] = ("cut", "level", "route", "handover")

    choice: Choice

    @classmethod
    def of(
        cls,
        cut: int | None = None,
        level: int | None = None,
        route: str | None = None,
        handover: Sequence[int] | None = None,
    ) -> FixedPolicy:
        """From a settings table.

        Raises:
            UnknownPolicy: `cut` or `route` is missing.
            InvalidValue: a route that does not exist, a level missing or not wanted, a malformed handover.
        """
        if cut is None or route is None:
            raise UnknownPolicy("policy 'fixed' needs `cut`, `route` and, unless that is 'device', `level`; set them")
        if route not in set(Route):
            raise InvalidValue(f"route is {route!r}; it has to be one of {', '.join(Route)}")
        if (level is None) != (route == Route.DEVICE):
            raise InvalidValue(f"level is {level!r} with route {route!r}; give a level exactly if the frame is sent")
        if handover is not None and (len(handover) != 2 or route != Route.EDGE_TO_CLOUD):
            raise InvalidValue(f"handover is {handover!r}; it has to be [cut, level], with route 'edge_to_cloud'")
        passed_on = None if handover is None else (int(handover[0]), int(handover[1]))
        return cls(Choice(int(cut), level, Route(route), passed_on))

    def decide(self, snapshot: Snapshot) -> Decision:
        """The fixed choice with its prediction, or none if the plan lacks it or its tier is unreachable."""
        place = snapshot.plan.columns.positions.get(self.choice)
        left_s = max(snapshot.deadline_s - snapshot.now_s, 0.0)
        if place is None:
            return Decision(None, left_s, 0.0, f"the plan has no {self.choice}")
        if not usable(snapshot, self.choice.route):
            return Decision(None, left_s, 0.0, f"{self.choice.route} is unreachable")
        values = worth(snapshot, Goal())
        return Decision(self.choice, float(values.expected_s[place]), float(values.in_time[place]), "fixed")
