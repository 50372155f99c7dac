"""Integer probability tables of the bitstream, and how to make them from counts or probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from protocol.errors import LocalProtocolError

PRECISION_BITS: Final = 14
TOTAL: Final = 1 << PRECISION_BITS
"""Sum of the widths of each row."""
MAX_OFFSET: Final = 1 << 30

Chosen: TypeAlias = NDArray[np.int32] | None
"""The row of each channel of a tensor, int32 [channels]; None: channel c uses row c."""


@dataclass(frozen=True, eq=False)
class Tables:
    """One cumulative distribution per channel. Checked and made read-only when built; any integer arrays will do.

    Attributes:
        cdf: uint32, [rows, most symbols + 1]; row r is 0 = cdf[r, 0] < cdf[r, 1] < ... < cdf[r, size[r]] = 1 << 14,
            and what follows in the row is not read.
        size: int32, [rows]: how many symbols row r has.
        offset: int32, [rows]: the symbol of row r with index 0; row r codes `offset[r]` to `offset[r] + size[r] - 1`.

    Raises:
        LocalProtocolError: on building, for anything else. Who reads tables from a file turns this into an error of it.
    """

    cdf: NDArray[np.uint32]
    size: NDArray[np.int32]
    offset: NDArray[np.int32]

    def __post_init__(self) -> None:
        cdf, size, offset = (_integers(name, getattr(self, name)) for name in ("cdf", "size", "offset"))
        _check(cdf, size, offset)
        for name, array, dtype in (("cdf", cdf, np.uint32), ("size", size, np.int32), ("offset", offset, np.int32)):
            own = np.array(array, dtype=dtype, order="C")
            own.flags.writeable = False
            object.__setattr__(self, name, own)

    @property
    def rows(self) -> int:
        """How many channels the tables are for."""
        return int(self.size.shape[0])

    def chosen(self, rows: NDArray[Any]) -> NDArray[np.int32]:
        """Rows for the channels of a tensor, int32 [channels], checked.

        Raises:
            LocalProtocolError: not one list of integers from 0 to `rows - 1`.
        """
        found = _integers("rows", rows)
        if found.ndim != 1 or (found.size and not 0 <= int(found.min()) <= int(found.max()) < self.rows):
            raise LocalProtocolError(f"each channel chooses one of the rows 0 to {self.rows - 1}")
        return np.ascontiguousarray(found, np.int32)

    @classmethod
    def from_counts(cls, counts: Sequence[ArrayLike], offset: ArrayLike) -> Tables:
        """Tables that code data with these counts in the fewest bits.

        Args:
            counts: per row, how often each symbol occurs (any non-negative weights); rows may differ in length.
            offset: per row, the symbol that the first count belongs to.
        """
        widths = [quantise_probabilities(row) for row in counts]
        size = np.array([len(row) for row in widths], np.int32)
        cdf = np.full((len(widths), int(size.max(initial=0)) + 1), TOTAL, np.uint32)
        for row, width in zip(cdf, widths, strict=True):
            row[0] = 0
            row[1 : len(width) + 1] = np.cumsum(width)
        return cls(cdf, size, np.asarray(offset))


def quantise_probabilities(probabilities: ArrayLike) -> NDArray[np.int64]:
    """Widths >= 1 that sum to 1 << 14 and give data of these probabilities its smallest cross-entropy.

    Args:
        probabilities: [symbols], non-negative, with a positive sum; need not be normalised. Ties go to lower indices.

    Raises:
        LocalProtocolError: not so, or there are more than 1 << 14 symbols.
    """
    weights = np.asarray(probabilities, np.float64)
    if weights.ndim != 1 or not 1 <= weights.size <= TOTAL:
        raise LocalProtocolError(f"a row needs 1 to {TOTAL} probabilities, not an array of shape {weights.shape}")
    total = weights.sum()
    if not (np.isfinite(total) and total > 0 and (weights >= 0).all()):
        raise LocalProtocolError("probabilities must be finite, not negative, and not all zero")
    share = weights / total
    widths = np.maximum(np.floor(share * TOTAL), 1.0)
    surplus = int(widths.sum()) - TOTAL
    for _ in range(-surplus):
        widths[np.argmax(_gain(share, widths))] += 1
    for _ in range(surplus):
        widths[np.argmin(_loss(share, widths))] -= 1
    return _exchanged(share, widths).astype(np.int64)


def _exchanged(share: NDArray[np.float64], widths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move single slots while that helps. The cost is convex in each width, so where none helps it is least."""
    while True:
        gain, loss = _gain(share, widths), _loss(share, widths)
        taker, giver = int(np.argmax(gain)), int(np.argmin(loss))
        if gain[taker] <= loss[giver] * (1 + 1e-9):
            return widths
        widths[taker] += 1
        widths[giver] -= 1


def _gain(share: NDArray[np.float64], widths: NDArray[np.float64]) -> NDArray[np.float64]:
    gain: NDArray[np.float64] = share * np.log2((widths + 1) / widths)
    return gain


def _loss(share: NDArray[np.float64], widths: NDArray[np.float64]) -> NDArray[np.float64]:
    loss = np.full_like(share, np.inf)
    wide = widths > 1
    loss[wide] = share[wide] * np.log2(widths[wide] / (widths[wide] - 1))
    return loss


def _integers(name: str, array: Any) -> NDArray[np.int64]:
    array = np.asarray(array)
    if array.dtype.kind not in "iu":
        raise LocalProtocolError(f"{name} of the tables must be integers, not {array.dtype}")
    integers: NDArray[np.int64] = array.astype(np.int64)
    return integers


def _check(cdf: NDArray[np.int64], size: NDArray[np.int64], offset: NDArray[np.int64]) -> None:
    if cdf.ndim != 2 or cdf.shape[0] < 1 or size.shape != cdf.shape[:1] or offset.shape != cdf.shape[:1]:
        raise LocalProtocolError(
            f"tables need cdf [rows, symbols + 1], size [rows] and offset [rows], "
            f"not {cdf.shape}, {size.shape} and {offset.shape}"
        )
    if size.min() < 1 or size.max() > min(cdf.shape[1] - 1, TOTAL):
        raise LocalProtocolError(f"each row of the tables needs a size of 1 to {min(cdf.shape[1] - 1, TOTAL)}")
    if np.abs(offset).max() > MAX_OFFSET:
        raise LocalProtocolError(f"an offset of the tables is beyond {MAX_OFFSET}")
    if cdf[:, 0].any() or (cdf[np.arange(len(size)), size] != TOTAL).any():
        raise LocalProtocolError(f"each row of the cdf must run from 0 to {TOTAL}")
    used = np.arange(cdf.shape[1] - 1) < size[:, None]
    if (np.diff(cdf, axis=1)[used] < 1).any():
        raise LocalProtocolError("each row of the cdf must grow by at least 1 with each symbol")
