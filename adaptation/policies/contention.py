"""The default policy on a device that other programs slow down: its plan follows the device's own slowdown at once.

After the ideas of ApproxDet (Xu et al., SenSys 2020), whose latency model knows the contention on the device, and CARMA
(Malawade et al., ICCPS 2023), which configures anew at run time as the context changes. Here the context is read off
the device seconds of the frames that ended lately. A plan's own correction is slow on purpose, so that one hiccup is
not a slow machine; two frames in a row that took much longer than planned, or much less, are no hiccup, and count at
once.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import ClassVar

from adaptation.decision import Decision
from adaptation.errors import InvalidValue
from adaptation.goal import Goal
from adaptation.hedging import Hedging
from adaptation.plan import Choice, Plan
from adaptation.policies.deadline import DeadlinePolicy
from adaptation.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class ContentionPolicy(DeadlinePolicy):
    """`DeadlinePolicy` over the plan as it is under the present contention.

    Attributes:
        last: frames that have to agree on a slowdown.
        tells: share by which they have to differ from the plan, all in one direction.
    """

    PARAMETERS: ClassVar[tuple[str, ...]] = (*DeadlinePolicy.PARAMETERS, "last", "tells")

    last: int = 2
    tells: float = 0.2

    def __post_init__(self) -> None:
        if not (self.last >= 1 and 0.0 < self.tells < 1.0):
            raise InvalidValue("last has to be at least 1, tells above 0 and below 1")

    @classmethod
    def of(cls, hedge: bool = False, **parameters: float) -> ContentionPolicy:
        """From a settings table; raises InvalidValue for a value outside its range."""
        last, tells = int(parameters.pop("last", 2)), parameters.pop("tells", 0.2)
        of_goal = {one.name: parameters.pop(one.name) for one in fields(Goal) if one.name in parameters}
        hedging = Hedging(**parameters)
        return cls(Goal(**of_goal), hedging if hedge else None, last, tells)

    def decide(self, snapshot: Snapshot) -> Decision:
        """As the default policy, with the device's times as they are now."""
        return DeadlinePolicy.decide(self, self._present(snapshot))

    def on_sending(self, snapshot: Snapshot, choice: Choice) -> Choice:
        """As the default policy, with the device's times as they are now."""
        return DeadlinePolicy.on_sending(self, self._present(snapshot), choice)

    def _present(self, snapshot: Snapshot) -> Snapshot:
        factor = self.slowdown(snapshot)
        return snapshot if factor == 1.0 else replace(snapshot, plan=slowed(snapshot.plan, factor))

    def slowdown(self, snapshot: Snapshot) -> float:
        """How many times longer the device takes now than the plan says; 1 where recent frames do not agree on it."""
        plan = snapshot.plan
        ratios = []
        for past in reversed(snapshot.recent):
            option = plan.find(past.choice)
            if option is not None and past.device_s > 0.0 and option.device_s > 0.0:
                ratios.append(past.device_s / option.device_s)
                if len(ratios) == self.last:
                    break
        if len(ratios) < self.last:
            return 1.0
        nearest = min(ratios, key=lambda ratio: abs(ratio - 1.0))
        low, high = min(ratios), max(ratios)
        return nearest if low > 1.0 + self.tells or high < 1.0 - self.tells else 1.0


def slowed(plan: Plan, factor: float) -> Plan:
    """The plan of a device that takes `factor` times as long for everything."""
    return Plan(
        tuple(
            replace(one, device_s=one.device_s * factor, head_s=None if one.head_s is None else one.head_s * factor)
            for one in plan
        )
    )
