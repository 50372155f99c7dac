"""A byte budget for a period (a month's data plan), as a price that rises while the budget runs short.

The budget accrues evenly, with a part of it in hand from the start. What is left is a pure function of what was spent
and how long it has been running; the price of a byte follows from how much of that part is left, as in budget pacing by
dual descent (Balseiro and Gur, "Learning in repeated auctions with budgets", Management Science 2019): where frames
spend more than accrues, bytes become dearer until they no longer do.
"""

from __future__ import annotations

from dataclasses import dataclass

from adaptation.errors import InvalidValue
from adaptation.goal import Allowance

MONTH_S = 30 * 86400.0


@dataclass(frozen=True, slots=True)
class ByteBudget:
    """So many bytes in a period, probes included.

    Attributes:
        budget_bytes: for the whole period.
        period_s: its length.
        in_hand_s: what accrues in so many seconds may be spent at once, and is there at the start.
        weight: worth of a frame that costs what accrues in one frame interval, while half of what is in hand is left.

    Raises:
        InvalidValue: a value outside its range.
    """

    budget_bytes: float
    period_s: float = MONTH_S
    in_hand_s: float = 60.0
    weight: float = 0.05

    def __post_init__(self) -> None:
        for name in ("budget_bytes", "period_s", "in_hand_s", "weight"):
            value = getattr(self, name)
            if not 0.0 < value < float("inf"):
                raise InvalidValue(f"{name} of the byte budget is {value!r}; it has to be a finite number above 0")

    @property
    def bytes_per_s(self) -> float:
        """How fast the budget accrues."""
        return self.budget_bytes / self.period_s

    def allowance(self, spent_bytes: float, running_s: float, interval_s: float) -> Allowance:
        """What a frame may spend now.

        Args:
            spent_bytes: since the start of the period, frames and probes.
            running_s: time since then.
            interval_s: between frames.
        """
        in_hand_bytes = self.bytes_per_s * self.in_hand_s
        left_bytes = in_hand_bytes + self.bytes_per_s * running_s - spent_bytes
        left = max(left_bytes, 0.0) / in_hand_bytes
        if left >= 1.0:
            return Allowance(left_bytes, 0.0)
        price = self.weight * (1.0 - left) / max(left, 1e-3) / (self.bytes_per_s * interval_s)
        return Allowance(max(left_bytes, 0.0), price)
