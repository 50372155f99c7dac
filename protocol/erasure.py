"""Erasure code: from any `k` of `k + m` rows the `k` first ones. Systematic Cauchy Reed-Solomon over GF(256).

Row `i >= k` is the sum over the data rows `j` of `1 / (i + j)` times row `j`, in the field of polynomials modulo
x^8 + x^4 + x^3 + x^2 + 1, where sums are exclusive ors (Bloemer et al., ICSI TR-95-048, 1995). Every square part of
such a matrix can be inverted, so it does not matter which rows are lost. Further rows can be made at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.uint8]

MOST_ROWS: Final = 256
"""Of one code, data rows among them."""
_POLYNOMIAL: Final = 0x11D


def further_row(data: Rows, index: int) -> Rows:
    """Row `index` of the code.

    Args:
        data: uint8 [k, bytes].
        index: k to 255.

    Returns:
        uint8 [bytes].
    """
    total = np.zeros(data.shape[1], np.uint8)
    for place, row in enumerate(data):
        total ^= _products()[_inverse(index ^ place)][row]
    return total


def recovered(rows: Mapping[int, Rows], needed: int) -> Rows:
    """The data rows.

    Args:
        rows: by index, at least `needed` of them, each uint8 [bytes].
        needed: k.

    Returns:
        uint8 [k, bytes].
    """
    data = np.zeros((needed, len(next(iter(rows.values())))), np.uint8)
    missing = [place for place in range(needed) if place not in rows]
    for place in range(needed):
        if place in rows:
            data[place] = rows[place]
    indices = [index for index in rows if index >= needed][: len(missing)]
    if missing:
        sums = np.array([rows[index] ^ further_row(data, index) for index in indices])
        factors = np.array([[_inverse(index ^ place) for place in missing] for index in indices], np.uint8)
        data[missing] = _solved(factors, sums)
    return data


def _solved(factors: Rows, sums: Rows) -> Rows:
    """`x` of `factors x = sums`, by elimination; a Cauchy matrix never has a pivot of 0, so none has to be sought."""
    products = _products()
    for place in range(len(factors)):
        scale = products[_inverse(int(factors[place, place]))]
        factors[place], sums[place] = scale[factors[place]], scale[sums[place]]
        for other in range(len(factors)):
            factor = factors[other, place]
            if other != place and factor:
                factors[other] ^= products[factor][factors[place]]
                sums[other] ^= products[factor][sums[place]]
    return sums


def _inverse(value: int) -> int:
    return int(_logarithms()[1][255 - _logarithms()[0][value]])


@cache
def _products() -> Rows:
    """[256, 256]: of every two elements."""
    logarithms, powers = _logarithms()
    sums = logarithms[:, None] + logarithms[None, :]
    found: Rows = powers[sums % 255].astype(np.uint8)
    found[0, :] = found[:, 0] = 0
    return found


@cache
def _logarithms() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """To the base x, of 1 to 255; and the powers of x."""
    powers = np.zeros(256, np.int64)
    logarithms = np.zeros(256, np.int64)
    value = 1
    for exponent in range(255):
        powers[exponent], logarithms[value] = value, exponent
        value <<= 1
        if value > 255:
            value ^= _POLYNOMIAL
    powers[255] = powers[0]
    return logarithms, powers
