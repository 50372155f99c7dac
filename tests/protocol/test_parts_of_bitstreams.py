"""Payloads cut short, and tensors in packets of which some are lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import rans, rans_numpy
from protocol.errors import BitstreamError, LocalProtocolError
from protocol.packets import join, split
from protocol.prefix import decode_prefix
from tests.protocol.bitstream_reader import read_packet
from tests.protocol.samples import laplace, sample

TABLES = laplace(6, 3)


@pytest.mark.parametrize("log2_lanes", [0, 1, 2])
@pytest.mark.parametrize("positions", [1, 9, 49])
def test_every_prefix_decodes_to_the_first_symbols_exactly(log2_lanes: int, positions: int) -> None:
    symbols = sample(TABLES, positions, positions)
    payload = rans_numpy.encode(symbols, TABLES, log2_lanes)
    _, body = rans_numpy.read_states(payload)
    before = 0
    for length in range(body, len(payload) + 1):
        found, count = decode_prefix(payload[:length], TABLES, positions)
        assert count >= before
        before = count
        assert np.array_equal(found.ravel()[:count], symbols.ravel()[:count])
        assert not found.ravel()[count:].any()
    assert before == symbols.size


def test_half_of_the_bytes_hold_about_half_of_the_symbols() -> None:
    tables = laplace(16, 5, spread=(1.0, 1.0))
    symbols = sample(tables, 49, 1)
    payload = rans.encode(symbols, tables)
    _, count = decode_prefix(payload[: len(payload) // 2], tables, 49)
    assert 0.44 * symbols.size < count < 0.56 * symbols.size


def test_a_prefix_without_its_states_is_refused() -> None:
    payload = rans.encode(sample(TABLES, 9, 0), TABLES)
    for length in range(4):
        with pytest.raises(BitstreamError):
            decode_prefix(payload[:length], TABLES, 9)
    with pytest.raises(BitstreamError, match="format 1"):
        decode_prefix(b"\x0f" + payload[1:], TABLES, 9)
    with pytest.raises(LocalProtocolError):
        decode_prefix(payload, TABLES, -1)


def test_symbols_that_are_not_known_are_the_nearest_to_zero_that_a_row_has() -> None:
    tables = rans.Tables.from_counts([[1, 1, 1], [1, 1], [5, 5, 5]], np.array([-1, 3, -9]))
    symbols = np.array([[1, -1], [4, 3], [-9, -8]], np.int32)
    packets = split(symbols, tables, 2)
    found, known = join(packets[1:], tables, 2)
    assert found.tolist() == [[0, -1], [3, 3], [-7, -8]]
    assert known.tolist() == [[False, True]] * 3


@settings(deadline=None, max_examples=60)
@given(
    positions=st.sampled_from([1, 2, 9, 49]),
    packets=st.integers(1, 6),
    lost=st.sets(st.integers(0, 5)),
    seed=st.integers(0, 99),
)
def test_what_arrives_is_exact_in_any_order_and_a_second_reader_agrees(
    positions: int, packets: int, lost: set[int], seed: int
) -> None:
    symbols = sample(TABLES, positions, seed)
    made = split(symbols, TABLES, packets)
    here = [packet for number, packet in enumerate(made) if number not in lost]
    if not here:
        with pytest.raises(BitstreamError, match="no packet"):
            join(here, TABLES, positions)
        return
    found, known = join(here[::-1], TABLES, positions)
    assert np.array_equal(found[known], symbols[known])
    assert not found[~known].any()
    assert known.all() == (len(here) == packets)
    cdf, size, offset = TABLES.cdf.tolist(), TABLES.size.tolist(), TABLES.offset.tolist()
    told = {place: value for packet in here for place, value in read_packet(packet, cdf, size, offset, positions)}
    assert {place: int(symbols[place]) for place in zip(*map(list, np.nonzero(known)), strict=True)} == told


def test_packets_cost_few_bytes_beyond_one_payload() -> None:
    tables = laplace(24, 1)
    symbols = sample(tables, 196, 2)
    whole = len(rans.encode(symbols, tables))
    assert sum(map(len, split(symbols, tables, 8))) <= whole + 8 * 6


def test_damaged_mixed_and_repeated_packets_are_refused() -> None:
    symbols = sample(TABLES, 9, 4)
    three, four = split(symbols, TABLES, 3), split(symbols, TABLES, 4)
    for packets in (
        [],
        [b""],
        [b"\x23" + three[0][1:]],  # part 3 of 3
        [b"\xf0" + three[0][1:]],  # one of 16, and there are only 9 positions
        [three[0], three[0]],
        [three[0], four[1]],
        [three[0][:-2]],
        [three[0] + b"\0\0"],
    ):
        with pytest.raises(BitstreamError):
            join(packets, TABLES, 9)
    for packets_wanted in (0, 10, 17):
        with pytest.raises(LocalProtocolError):
            split(symbols, TABLES, packets_wanted)
