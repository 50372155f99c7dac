"""The window over numbers, against a set that forgets nothing."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from protocol.replay import WINDOW, Seen

numbers = st.one_of(st.integers(0, 20), st.integers(WINDOW - 3, WINDOW + 30), st.integers(1, 2**64 - 1))


@given(st.lists(numbers, max_size=60))
def test_a_number_is_new_once_unless_it_is_too_old_to_tell(received: list[int]) -> None:
    seen, kept, newest = Seen(), set[int](), 0
    for number in received:
        expected = number > 0 and number > newest - WINDOW and number not in kept
        assert seen.is_new(number) is expected
        if expected:
            kept.add(number)
        newest = max(newest, number)


def test_it_costs_the_same_however_far_the_numbers_go() -> None:
    seen = Seen()
    assert all(seen.is_new(number) for number in range(1, 3 * WINDOW))
    assert seen.is_new(2**64 - 1)
    assert sys.getsizeof(seen._bits) < WINDOW


def test_asking_whether_a_number_has_come_notes_nothing() -> None:
    seen = Seen()
    assert not seen.has(5)
    assert seen.is_new(5)
    assert seen.has(5)
    assert not seen.has(4)
    assert seen.is_new(4)
    assert seen.is_new(5 + WINDOW)
    assert seen.has(5)
