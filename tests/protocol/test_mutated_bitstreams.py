"""Damaged bitstreams: a valid tensor or a typed error, the same from every implementation, in bounded time and memory.

The checksum in front of the decoder (docs/wire.md) is left out: this is what a sender can do who makes it right again.
"""

from __future__ import annotations

import json
import random
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from protocol import rans, rans_native, rans_numpy
from protocol.errors import BitstreamError
from protocol.tables import Tables
from tests.protocol.bitstream_reader import Refused, read
from tests.protocol.samples import laplace, sample

SLOWEST_S = 0.1
ALLOWANCE_BYTES = 64 << 10
"""What the interpreter may use beside the declared symbols."""


@dataclass(frozen=True)
class Case:
    tables: Tables
    positions: int
    payload: bytes


def cases() -> list[Case]:
    """Payloads of all numbers of lanes, of few and many symbols."""
    made = []
    for log2_lanes in range(6):
        for rows, positions in ((1, 1), (3, 7), (6, 40)):
            tables = laplace(rows, seed=log2_lanes)
            symbols = sample(tables, positions, seed=positions)
            made.append(Case(tables, positions, rans_numpy.encode(symbols, tables, log2_lanes)))
    return made


def mutations(payloads: list[bytes], count: int, seed: int) -> Iterator[tuple[int, bytes]]:
    """Number of the payload and a damaged copy: bits, bytes, cuts, joins, repeats, noise."""
    generator = random.Random(seed)
    for _ in range(count):
        number = generator.randrange(len(payloads))
        data = bytearray(payloads[number])
        for _ in range(generator.choice((1, 1, 1, 2, 8))):
            at = generator.randrange(len(data) + 1)
            kind = generator.randrange(7)
            if kind == 0 and data:
                data[at % len(data)] ^= 1 << generator.randrange(8)
            elif kind == 1 and data:
                data[at % len(data)] = generator.randrange(256)
            elif kind == 2:
                del data[at:]
            elif kind == 3:
                del data[at : at + generator.randrange(1, 9)]
            elif kind == 4:
                data[at:at] = generator.randbytes(generator.randrange(1, 9))
            elif kind == 5:
                data[at:] = generator.choice(payloads)[at:]
            elif data:
                data[0] = generator.randrange(256)
        yield number, bytes(data)


def outcome(coder: Any, case: Case, payload: bytes) -> NDArray[np.int32] | None:
    """The symbols, checked to lie within the tables; None where the payload is refused with the error of this room."""
    try:
        symbols = coder.decode(payload, case.tables, case.positions)
    except BitstreamError:
        return None
    assert symbols.shape == (case.tables.rows, case.positions)
    index = symbols - case.tables.offset[:, None]
    assert ((index >= 0) & (index < case.tables.size[:, None])).all()
    return np.asarray(symbols)


def second_outcome(case: Case, payload: bytes) -> NDArray[np.int32] | None:
    tables = case.tables
    try:
        channels = read(payload, tables.cdf.tolist(), tables.size.tolist(), tables.offset.tolist(), case.positions)
    except Refused:
        return None
    return np.array(channels, np.int32).reshape(tables.rows, case.positions)


def same(one: NDArray[np.int32] | None, other: NDArray[np.int32] | None) -> bool:
    return (one is None) == (other is None) and (one is None or other is None or np.array_equal(one, other))


@pytest.mark.parametrize("name", ["lanes1", "lanes4", "lanes16", "lanes32", "steep"])
def test_the_decoder_written_from_the_page_reads_the_golden_bitstreams(name: str) -> None:
    kept = json.loads((Path(__file__).with_name("golden") / f"{name}.json").read_text())
    positions = len(kept["symbols"][0])
    found = read(bytes.fromhex(kept["payload"]), kept["cdf"], kept["size"], kept["offset"], positions)
    assert found == kept["symbols"]


def test_all_implementations_agree_on_20000_damaged_bitstreams() -> None:
    """The C coder on all; the NumPy one and the one from the page on every eighth."""
    known = cases()
    accepted = 0
    for turn, (number, payload) in enumerate(mutations([case.payload for case in known], 20_000, seed=1)):
        found = outcome(rans, known[number], payload)
        accepted += found is not None
        if turn % 8 == 0:
            assert same(found, outcome(rans_numpy, known[number], payload))
            assert same(found, second_outcome(known[number], payload))
    assert 0 < accepted < 10_000


def test_a_damaged_bitstream_takes_no_memory_beyond_the_declared_symbols() -> None:
    known = cases()
    tracemalloc.start()
    try:
        for number, payload in mutations([case.payload for case in known], 300, seed=2):
            case = known[number]
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            outcome(rans, case, payload)
            symbols_bytes = 4 * case.tables.rows * case.positions
            assert tracemalloc.get_traced_memory()[1] - before < 3 * symbols_bytes + len(payload) + ALLOWANCE_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_million_damaged_bitstreams_end_in_a_tensor_or_a_typed_error() -> None:
    """None hangs: each is timed by the processor's clock, which a busy machine does not stretch."""
    if rans_native.library() is None:
        pytest.skip("the C coder is not built here; the NumPy one runs in the shorter test")
    known = cases()
    slowest = 0.0
    for number, payload in mutations([case.payload for case in known], 1_000_000, seed=3):
        start = time.thread_time()
        outcome(rans, known[number], payload)
        slowest = max(slowest, time.thread_time() - start)
    assert slowest < SLOWEST_S
