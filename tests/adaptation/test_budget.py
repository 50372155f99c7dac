"""The byte budget: what may be spent when, and what it costs."""

from __future__ import annotations

import pytest

from adaptation.budget import ByteBudget
from adaptation.errors import InvalidValue

BUDGET = ByteBudget(3.6e6, period_s=3600.0, in_hand_s=10.0)
"""1000 bytes a second, 10,000 in hand."""


def test_who_spends_what_accrues_keeps_what_is_in_hand() -> None:
    for running_s in (0.0, 10.0, 3600.0):
        allowance = BUDGET.allowance(1000.0 * running_s, running_s, 0.1)
        assert allowance.left_bytes == pytest.approx(10e3)
        assert allowance.price == 0.0


def test_bytes_become_dearer_as_less_is_left_and_none_may_be_spent_beyond_it() -> None:
    allowances = [BUDGET.allowance(spent, 0.0, 0.1) for spent in (0.0, 2.5e3, 5e3, 7.5e3, 9.9e3, 12e3)]
    prices = [one.price for one in allowances]
    assert prices == sorted(prices)
    assert prices[2] == pytest.approx(BUDGET.weight / 100.0)  # half is left, 100 bytes accrue in a frame interval
    assert [one.left_bytes for one in allowances] == pytest.approx([10e3, 7.5e3, 5e3, 2.5e3, 100.0, 0.0])


def test_a_budget_of_nothing_is_refused() -> None:
    for wrong in ({"budget_bytes": 0.0}, {"budget_bytes": 1e6, "period_s": -1.0}, {"budget_bytes": float("inf")}):
        with pytest.raises(InvalidValue, match="above 0"):
            ByteBudget(**wrong)
