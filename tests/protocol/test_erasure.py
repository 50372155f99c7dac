"""The erasure code against multiplication of polynomials, and against losing everything that may be lost."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import erasure


def multiplied(a: int, b: int) -> int:
    """Two polynomials over GF(2), modulo x^8 + x^4 + x^3 + x^2 + 1, as one does it on paper."""
    product = 0
    for place in range(8):
        if b >> place & 1:
            product ^= a << place
    for place in range(15, 7, -1):
        if product >> place & 1:
            product ^= 0x11D << (place - 8)
    return product


def test_every_product_is_that_of_the_polynomials() -> None:
    table = [[multiplied(a, b) for b in range(256)] for a in range(256)]
    assert np.array_equal(erasure._products(), np.array(table, np.uint8))


def test_a_further_row_is_the_sum_of_the_data_divided_by_the_sums_of_the_indices() -> None:
    inverse = {multiplied(a, b) == 1 and a: b for a in range(1, 256) for b in range(1, 256)}
    data = np.arange(1, 13, dtype=np.uint8).reshape(4, 3)
    expected = [0, 0, 0]
    for place in range(4):
        for column in range(3):
            expected[column] ^= multiplied(inverse[9 ^ place], int(data[place, column]))
    assert erasure.further_row(data, 9).tolist() == expected


@pytest.mark.parametrize("needed", [1, 2, 3, 4])
def test_whichever_rows_are_left_of_a_small_code_they_are_enough(needed: int) -> None:
    data = np.random.default_rng(needed).integers(0, 256, (needed, 5), np.uint8)
    code = {index: data[index] if index < needed else erasure.further_row(data, index) for index in range(needed + 4)}
    for left in combinations(code, needed):
        assert np.array_equal(erasure.recovered({index: code[index] for index in left}, needed), data)


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_any_rows_of_a_large_code_are_enough(drawn: st.DataObject) -> None:
    needed = drawn.draw(st.integers(1, 64))
    left = drawn.draw(st.lists(st.integers(0, 255), min_size=needed, max_size=needed, unique=True))
    data = np.random.default_rng(needed).integers(0, 256, (needed, 7), np.uint8)
    rows = {index: data[index] if index < needed else erasure.further_row(data, index) for index in left}
    assert np.array_equal(erasure.recovered(rows, needed), data)
