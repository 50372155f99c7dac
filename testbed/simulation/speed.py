"""What a simulated device believes of its own speed, corrected by what its frames take, as `device.figures` does."""

from __future__ import annotations

from dataclasses import replace

from adaptation.plan import Choice, Option, Plan
from adaptation.policies.contention import slowed

WEIGHT, MOST, DRIFT = 0.2, 3.0, 0.05
"""Share of a new measurement, its bound, and what rebuilds a plan (see `device.figures` and `device.plan`)."""


class Speed:
    """The plan in force.

    Args:
        plan: the true figures at the device's own speed.
        believed: the figures that the device starts with; then each part is corrected by its own measurements. None:
            the true ones, and all are corrected together.
    """

    def __init__(self, plan: Plan, believed: Plan | None = None) -> None:
        self._true = plan
        self._believed = believed
        self._factor = self._planned = 1.0
        self._parts: dict[tuple[int, bool], float] = {}
        self.plan = believed or plan

    def took(self, choice: Choice, seconds: float, slowdown: float) -> None:
        """The device computed so long for a choice, `slowdown` times as long as at its own speed."""
        if self._believed is None:
            self._factor *= 1.0 + WEIGHT * (min(slowdown / self._factor, MOST) - 1.0)
            if abs(self._factor - self._planned) > DRIFT * self._planned:
                self._planned = self._factor
                self.plan = slowed(self._true, self._factor)
            return
        option = self.plan.find(choice)
        if option is None or option.device_s <= 0.0:
            return
        step = 1.0 + WEIGHT * (min(seconds / option.device_s, MOST) - 1.0)
        part = choice.cut, choice.remote
        self._parts[part] = self._parts.get(part, 1.0) * step
        if abs(step - 1.0) > 0.01:
            self.plan = Plan(tuple(map(self._corrected, self._believed)))

    def _corrected(self, option: Option) -> Option:
        factor = self._parts.get((option.choice.cut, option.choice.remote), 1.0)
        head_s = None if option.head_s is None else option.head_s * factor
        return replace(option, device_s=option.device_s * factor, head_s=head_s)
