"""Waiting on behalf of a slower machine."""

from __future__ import annotations

import pytest

from runtime.stretch import Stretch


def test_a_call_waits_for_the_rest_of_its_stretched_processor_time() -> None:
    slept: list[float] = []
    stretch = Stretch(4.0, sleep=slept.append, thread_time=iter([10.0, 10.5]).__next__)
    assert stretch.call(lambda a, b: a + b, 1, b=2) == 3
    assert slept == [1.5]


def test_a_factor_of_one_never_waits() -> None:
    stretch = Stretch(sleep=lambda _: pytest.fail("slept"), thread_time=iter([1.0, 2.0]).__next__)
    assert stretch.call(int, "7") == 7


def test_a_failing_call_waits_too_and_then_fails() -> None:
    slept: list[float] = []
    stretch = Stretch(2.0, sleep=slept.append, thread_time=iter([0.0, 0.25]).__next__)
    with pytest.raises(ZeroDivisionError):
        stretch.call(lambda: 1 // 0)
    assert slept == [0.25]


@pytest.mark.parametrize("factor", [0.5, 0.0, -1.0, float("nan")])
def test_a_faster_machine_cannot_be_emulated(factor: float) -> None:
    with pytest.raises(ValueError, match="factor of 1 or more"):
        Stretch(factor)
