"""The front of a bitstream that was cut short: every symbol whose words are all there. See docs/bitstream.md.

For relays and devices that cut a payload rather than drop it. Nothing in a cut payload tells where it was cut or
whether it is whole, so its length must be known to be right from elsewhere, as a frame's checksum tells it.
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

from protocol.errors import LocalProtocolError
from protocol.rans_numpy import LOW, read_states
from protocol.tables import PRECISION_BITS, TOTAL, Tables


def decode_prefix(payload: bytes, tables: Tables, positions: int) -> tuple[NDArray[np.int32], int]:
    """Decode until the words run out.

    Args:
        payload: the first bytes of a bitstream, at least its head and states; a last half word is passed over.
        positions: symbols per channel, from the bundle.

    Returns:
        int32 [tables.rows, positions], where what was not decoded is the symbol of its row that is nearest to 0; and
        how many symbols were decoded, in the order of the stream: all of the first channels, then part of one.

    Raises:
        BitstreamError: head or states are missing or out of range.
        LocalProtocolError: `positions` is negative.
    """
    if positions < 0:
        raise LocalProtocolError(f"positions must not be negative, not {positions}")
    states, body = read_states(payload, whole=False)
    words = np.frombuffer(payload, "<u2", (len(payload) - body) // 2, body).tolist()
    rows = [tables.cdf[row, : size + 1].tolist() for row, size in enumerate(tables.size.tolist())]
    found = nearest_to_zero(tables, positions)
    flat, count, used = found.reshape(-1), tables.rows * positions, 0
    for i in range(count):
        lane, row = i % len(states), i // positions
        x, cdf = states[lane], rows[row]
        slot = x & (TOTAL - 1)
        index = bisect_right(cdf, slot) - 1
        flat[i] = tables.offset[row] + index
        x = (cdf[index + 1] - cdf[index]) * (x >> PRECISION_BITS) + slot - cdf[index]
        if x < LOW:
            if used == len(words):
                return found, i + 1
            x = x << 16 | words[used]
            used += 1
        states[lane] = x
    return found, count


def nearest_to_zero(tables: Tables, positions: int) -> NDArray[np.int32]:
    """What stands for unknown symbols: 0, or the nearest symbol that the row has; int32 [rows, positions]."""
    nearest = np.clip(0, tables.offset, tables.offset + tables.size - 1).astype(np.int32)
    return np.repeat(nearest[:, None], positions, axis=1)
