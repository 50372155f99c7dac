"""The coder without a compiler: the same bytes as `rans.c`, written to be read beside docs/bitstream.md.

Few lanes run on Python integers, many on NumPy vectors with one element per lane.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from protocol.errors import BitstreamError, LocalProtocolError
from protocol.tables import PRECISION_BITS, TOTAL, Chosen, Tables

LOW: Final = 1 << 16
"""Lower bound of a state, and its value before the first and after the last symbol."""
MAX_LOG2_LANES: Final = 5
_VECTOR_FROM: Final = 8
"""Lanes from which one NumPy operation over all of them beats a loop."""
Numbers: TypeAlias = NDArray[np.int64]
_SHIFT: Final = 32 - PRECISION_BITS


def encode(symbols: NDArray[np.int32], tables: Tables, log2_lanes: int, chosen: Chosen = None) -> bytes:
    """Bitstream of [channels, positions] symbols, channel c by row c of the tables, or by row `chosen[c]`.

    Raises:
        LocalProtocolError: a symbol is outside its row.
    """
    flat = _Flat.of(tables)
    rows = _rows(tables, chosen)
    index = symbols.astype(np.int64) - tables.offset[rows]
    if ((index < 0) | (index >= tables.size[rows])).any():
        raise LocalProtocolError("a symbol is outside its row of the tables; clip before encoding")
    entry = (index + flat.first[rows]).ravel()
    start, width = flat.start[entry] & (TOTAL - 1), flat.width[entry]
    lanes = 1 << log2_lanes
    states, words = (_push_vectors if lanes >= _VECTOR_FROM else _push_each)(start, width, lanes)
    return _header(states, log2_lanes) + words.astype("<u2").tobytes()


def decode(payload: bytes, tables: Tables, positions: int, chosen: Chosen = None) -> NDArray[np.int32]:
    """The [channels, positions] symbols of a bitstream; `chosen` as for `encode`.

    Raises:
        BitstreamError: the payload is no bitstream of so many symbols with these tables.
    """
    states, body = read_states(payload)
    words = np.frombuffer(payload, "<u2", offset=body).astype(np.int64)
    pop = _pop_vectors if len(states) >= _VECTOR_FROM else _pop_each
    flat = _Flat.of(tables)
    rows = _rows(tables, chosen)
    states, entry, used = pop(states, words, flat, rows.repeat(positions))
    if used != len(words):
        raise _fault("bytes are left over")
    if any(state != LOW for state in states):
        raise _fault("it does not end in the state it must")
    symbols: NDArray[np.int32] = (entry.reshape(len(rows), positions) - flat.first[rows] + tables.offset[rows]).astype(
        np.int32
    )
    return symbols


def _rows(tables: Tables, chosen: Chosen) -> NDArray[np.intp]:
    """The row of each channel, [channels, 1]."""
    return (np.arange(tables.rows) if chosen is None else chosen.astype(np.intp))[:, None]


@dataclass(frozen=True, slots=True)
class _Flat:
    """All rows end to end: entry `first[row] + index` is one symbol, and `start` grows over all of it."""

    first: Numbers
    start: Numbers  # row * TOTAL + cdf
    width: Numbers

    @classmethod
    def of(cls, tables: Tables) -> _Flat:
        cdf = tables.cdf.astype(np.int64)
        used = np.arange(cdf.shape[1] - 1) < tables.size[:, None]
        base = np.arange(tables.rows, dtype=np.int64)[:, None] * TOTAL
        first = np.concatenate([[0], np.cumsum(tables.size[:-1], dtype=np.int64)])
        return cls(first, (cdf[:, :-1] + base)[used], np.diff(cdf, axis=1)[used])


def _push_each(start: Numbers, width: Numbers, lanes: int) -> tuple[list[int], Numbers]:
    states = [LOW] * lanes
    words: list[int] = []
    i = len(start)
    for begin, span in zip(start[::-1].tolist(), width[::-1].tolist(), strict=True):
        i -= 1
        x = states[i % lanes]
        if x >= span << _SHIFT:
            words.append(x & 0xFFFF)
            x >>= 16
        states[i % lanes] = (x // span << PRECISION_BITS) + x % span + begin
    return states, np.array(words[::-1], np.int64)


def _push_vectors(start: Numbers, width: Numbers, lanes: int) -> tuple[list[int], Numbers]:
    states = np.full(lanes, LOW, np.int64)
    words: list[Numbers] = []
    for i in range((len(start) - 1) // lanes * lanes, -1, -lanes):
        begin, span = start[i : i + lanes], width[i : i + lanes]
        x = states[: len(begin)]
        high = x >= span << _SHIFT
        words.append(x[high] & 0xFFFF)
        x = np.where(high, x >> 16, x)
        quotient, remainder = np.divmod(x, span)
        states[: len(begin)] = (quotient << PRECISION_BITS) + remainder + begin
    return states.tolist(), np.concatenate([np.empty(0, np.int64), *words[::-1]])


def _pop_each(states: list[int], words: Numbers, flat: _Flat, rows: NDArray[np.intp]) -> tuple[list[int], Numbers, int]:
    """`rows`: of each symbol, [symbols]. Returns the last states, the entry of each symbol, and the words used."""
    start, width, left = flat.start.tolist(), flat.width.tolist(), words.tolist()
    lanes, used = len(states), 0
    entry = np.empty(len(rows), np.int64)
    for i, row in enumerate(rows.tolist()):
        x = states[i % lanes]
        slot = (x & (TOTAL - 1)) + row * TOTAL
        found = bisect_right(start, slot) - 1
        x = width[found] * (x >> PRECISION_BITS) + slot - start[found]
        if x < LOW:
            if used == len(left):
                raise _fault("it ends too early")
            x = x << 16 | left[used]
            used += 1
        states[i % lanes] = x
        entry[i] = found
    return states, entry, used


def _pop_vectors(
    first: list[int], words: Numbers, flat: _Flat, rows: NDArray[np.intp]
) -> tuple[list[int], Numbers, int]:
    """As `_pop_each`."""
    states, used = np.array(first, np.int64), 0
    lanes = len(first)
    base = rows * TOTAL
    entry = np.empty(len(rows), np.int64)
    for i in range(0, len(rows), lanes):
        here = base[i : i + lanes]
        x = states[: len(here)]
        slot = (x & (TOTAL - 1)) + here
        found = np.searchsorted(flat.start, slot, side="right") - 1
        x = flat.width[found] * (x >> PRECISION_BITS) + slot - flat.start[found]
        low = x < LOW
        wanted = int(np.count_nonzero(low))
        if used + wanted > len(words):
            raise _fault("it ends too early")
        x[low] = x[low] << 16 | words[used : used + wanted]
        used += wanted
        states[: len(here)] = x
        entry[i : i + lanes] = found
    return states.tolist(), entry, used


def _header(states: list[int], log2_lanes: int) -> bytes:
    lengths = [4 if state >> 24 else 3 for state in states]
    flags = sum(1 << (4 + lane) for lane, length in enumerate(lengths) if length == 4)
    head = (log2_lanes | flags).to_bytes((4 + len(states) + 7) // 8, "little")
    return head + b"".join(x.to_bytes(length, "little") for x, length in zip(states, lengths, strict=True))


def read_states(payload: bytes, *, whole: bool = True) -> tuple[list[int], int]:
    """The lanes' states, and where the words begin; a payload that is not whole may end in half a word.

    Raises:
        BitstreamError: they are not there, or out of range.
    """
    if not payload or payload[0] & 15 > MAX_LOG2_LANES:
        raise _fault("its header is none of format 1")
    lanes = 1 << (payload[0] & 15)
    body = (4 + lanes + 7) // 8
    flags = int.from_bytes(payload[:body], "little") >> 4
    if len(payload) < body or flags >> lanes:
        raise _fault("its header is none of format 1")
    states = []
    for lane in range(lanes):
        length = 3 + (flags >> lane & 1)
        if len(payload) < body + length:
            raise _fault("it ends too early")
        state = int.from_bytes(payload[body : body + length], "little")
        if state < (LOW if length == 3 else 1 << 24):
            raise _fault("a state is out of range")
        states.append(state)
        body += length
    if whole and (len(payload) - body) % 2:
        raise _fault("bytes are left over")
    return states, body


def _fault(reason: str) -> BitstreamError:
    return BitstreamError(f"the payload is not a bitstream of these tables: {reason}")
