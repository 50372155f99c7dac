from __future__ import annotations

from typing import Any

import constriction
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import rans, rans_native, rans_numpy
from protocol.errors import BitstreamError, LocalProtocolError
from protocol.tables import Tables, quantise_probabilities
from tests.protocol.samples import cross_entropy_bytes, laplace, sample

CODERS = [
    pytest.param(
        rans_native,
        id="c",
        marks=pytest.mark.skipif(rans_native.library() is None, reason="protocol/_rans.so is not built"),
    ),
    pytest.param(rans_numpy, id="numpy"),
]
both = pytest.mark.parametrize("coder", CODERS)
needs_c = pytest.mark.skipif(rans_native.library() is None, reason="protocol/_rans.so is not built")


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tables, Any]:
    """Any tables (one symbol or many, flat or steep, rows of different lengths) with symbols that fit them."""
    rows = draw(st.integers(1, 5))
    counts = [draw(st.lists(st.integers(0, 1000), min_size=1, max_size=40)) for _ in range(rows)]
    counts = [row if any(row) else [1] * len(row) for row in counts]
    offset = draw(st.lists(st.integers(-1000, 1000), min_size=rows, max_size=rows))
    tables = Tables.from_counts(counts, np.array(offset))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    positions = draw(st.integers(0, 300))
    symbols = np.stack([random.integers(0, size, positions) for size in tables.size]) + tables.offset[:, None]
    return tables, symbols.astype(np.int32)


@both
@settings(max_examples=40, deadline=None)
@given(case=cases(), log2_lanes=st.integers(0, 5))
def test_the_same_symbols_come_out_as_went_in(coder: Any, case: tuple[Tables, Any], log2_lanes: int) -> None:
    tables, symbols = case
    payload = coder.encode(symbols, tables, log2_lanes)
    assert np.array_equal(coder.decode(payload, tables, symbols.shape[1]), symbols)


@needs_c
@settings(max_examples=60, deadline=None)
@given(case=cases(), log2_lanes=st.integers(0, 5))
def test_both_coders_write_the_same_bytes(case: tuple[Tables, Any], log2_lanes: int) -> None:
    tables, symbols = case
    assert rans_native.encode(symbols, tables, log2_lanes) == rans_numpy.encode(symbols, tables, log2_lanes)


@settings(max_examples=40, deadline=None)
@given(case=cases(), seed=st.integers(0, 10**6), log2_lanes=st.integers(0, 5))
def test_channels_that_choose_their_rows_are_coded_like_tables_that_repeat_them(
    case: tuple[Tables, Any], seed: int, log2_lanes: int
) -> None:
    tables, _ = case
    random = np.random.default_rng(seed)
    rows = random.integers(0, tables.rows, random.integers(0, 9))
    positions = int(random.integers(0, 120))
    index = random.random((len(rows), positions)) * tables.size[rows][:, None]
    symbols = index.astype(np.int32) + tables.offset[rows][:, None]
    chosen = tables.chosen(rows)
    coders: list[Any] = [rans_numpy] if rans_native.library() is None else [rans_numpy, rans_native]
    payloads = {coder.encode(symbols, tables, log2_lanes, chosen) for coder in coders}
    if len(rows):
        repeated = Tables(tables.cdf[rows], tables.size[rows], tables.offset[rows])
        payloads.add(rans_numpy.encode(symbols, repeated, log2_lanes))
    assert len(payloads) == 1
    for coder in coders:
        assert np.array_equal(coder.decode(*payloads, tables, positions, chosen), symbols)
    assert np.array_equal(rans.decode(rans.encode(symbols, tables, rows), tables, positions, rows), symbols)


@pytest.mark.parametrize("rows", [[0, 2], [-1, 0], [0.0, 1.0], [[0, 1]]])
def test_a_row_that_does_not_exist_is_our_own_error(rows: Any) -> None:
    tables = laplace(2, seed=1)
    with pytest.raises(LocalProtocolError):
        rans.encode(np.zeros((2, 3), np.int32), tables, np.array(rows))
    with pytest.raises(LocalProtocolError):
        rans.decode(b"", tables, 3, np.array(rows))


@settings(max_examples=40, deadline=None)
@given(case=cases())
def test_the_public_functions_round_trip(case: tuple[Tables, Any]) -> None:
    tables, symbols = case
    assert np.array_equal(rans.decode(rans.encode(symbols, tables), tables, symbols.shape[1]), symbols)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), rows=st.integers(1, 10), positions=st.integers(1, 20))
def test_under_200_symbols_cost_at_most_5_bytes_more_than_their_cross_entropy(
    seed: int, rows: int, positions: int
) -> None:
    tables = laplace(rows, seed)
    symbols = sample(tables, positions, seed)
    assert len(rans.encode(symbols, tables)) <= cross_entropy_bytes(symbols, tables) + 5


@pytest.mark.parametrize("spread", [(0.05, 0.3), (0.2, 3.0), (3.0, 9.0)])
@pytest.mark.parametrize("shape", [(8, 64), (64, 64), (64, 512), (32, 4096)])
def test_tensors_cost_at_most_half_a_percent_and_8_bytes_more(
    shape: tuple[int, int], spread: tuple[float, float]
) -> None:
    tables = laplace(shape[0], seed=1, spread=spread)
    symbols = sample(tables, shape[1], seed=2)
    assert len(rans.encode(symbols, tables)) <= cross_entropy_bytes(symbols, tables) * 1.005 + 8


def test_another_implementation_needs_as_many_bytes() -> None:
    tables = laplace(16, seed=3)
    symbols = sample(tables, 8192, seed=4)
    theirs = constriction.stream.stack.AnsCoder()
    for row in range(tables.rows):
        width = np.diff(tables.cdf[row].astype(np.int64)).astype(np.float64)
        model = constriction.stream.model.Categorical(width / width.sum(), perfect=False)
        theirs.encode_reverse(symbols[row] - tables.offset[row], model)
    assert len(rans.encode(symbols, tables)) == pytest.approx(theirs.num_words() * 4, rel=0.002)


@both
def test_a_channel_of_one_symbol_costs_nothing(coder: Any) -> None:
    tables = Tables(np.array([[0, 1 << 14]]), np.array([1]), np.array([5]))
    payload = coder.encode(np.full((1, 1000), 5, np.int32), tables, 0)
    assert payload == bytes([0, 0, 0, 1])
    assert (coder.decode(payload, tables, 1000) == 5).all()


@both
@settings(max_examples=60, deadline=None)
@given(data=st.data(), log2_lanes=st.sampled_from([0, 2, 3, 5]), positions=st.integers(1, 150))
def test_damaged_payloads_are_refused_or_stay_in_range(
    coder: Any, data: st.DataObject, log2_lanes: int, positions: int
) -> None:
    tables = laplace(3, seed=5)
    payload = bytearray(coder.encode(sample(tables, positions, seed=6), tables, log2_lanes))
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    _refused_or_in_range(coder, bytes(payload), tables, positions)


@both
@settings(max_examples=60, deadline=None)
@given(payload=st.binary(max_size=200), positions=st.integers(0, 200))
def test_any_bytes_are_refused_or_stay_in_range(coder: Any, payload: bytes, positions: int) -> None:
    _refused_or_in_range(coder, payload, laplace(2, seed=7), positions)


def _refused_or_in_range(coder: Any, payload: bytes, tables: Tables, positions: int) -> None:
    try:
        symbols = coder.decode(payload, tables, positions)
    except BitstreamError:
        return
    assert symbols.shape == (tables.rows, positions)
    assert ((symbols >= tables.offset[:, None]) & (symbols < (tables.offset + tables.size)[:, None])).all()
    lanes = payload[0] & 15
    assert coder.encode(symbols, tables, lanes) == payload, "there is one bitstream for each tensor and lane count"


@both
@pytest.mark.parametrize("log2_lanes", [0, 1, 2, 3, 4, 5])
def test_every_truncation_and_extension_is_refused(coder: Any, log2_lanes: int) -> None:
    tables = laplace(2, seed=8)
    payload = coder.encode(sample(tables, 90, seed=9), tables, log2_lanes)
    for length in range(len(payload)):
        with pytest.raises(BitstreamError):
            coder.decode(payload[:length], tables, 90)
    for more in (b"\0", b"\0\0", bytes(100)):
        with pytest.raises(BitstreamError):
            coder.decode(payload + more, tables, 90)


@both
@pytest.mark.parametrize("positions", [1, 89, 91, 180, 100_000])
def test_a_payload_for_another_number_of_symbols_is_refused(coder: Any, positions: int) -> None:
    tables = laplace(2, seed=8)
    payload = coder.encode(sample(tables, 90, seed=9), tables, 2)
    with pytest.raises(BitstreamError):
        coder.decode(payload, tables, positions)


@both
@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "header"),
        (b"\x06\0\0\1", "header"),
        (b"\x20\0\0\1", "header"),
        (b"\x03\x00", "too early"),
        (b"\x03\x10" + bytes(40), "header"),
        (b"\x00\xff\xff\x00", "state is out of range"),
        (b"\x10\xff\xff\xff\x00", "state is out of range"),
        (b"\x00\x00\x00\x01\x00", "left over"),
    ],
)
def test_a_broken_head_is_refused_with_its_reason(coder: Any, payload: bytes, reason: str) -> None:
    with pytest.raises(BitstreamError, match=reason):
        coder.decode(payload, laplace(1, seed=1), 1)


@both
@pytest.mark.parametrize("stray", [-21, 21, -(2**31), 2**31 - 1])
def test_a_symbol_outside_its_row_is_our_own_error(coder: Any, stray: int) -> None:
    symbols = np.zeros((1, 10), np.int32)
    symbols[0, 4] = stray
    with pytest.raises(LocalProtocolError, match="clip"):
        coder.encode(symbols, laplace(1, seed=1), 0)


@pytest.mark.parametrize(
    "symbols", [np.zeros(10, np.int32), np.zeros((2, 5), np.int32), np.zeros((1, 5)), np.full((1, 5), 2**40)]
)
def test_what_is_no_tensor_of_these_tables_is_our_own_error(symbols: Any) -> None:
    with pytest.raises(LocalProtocolError):
        rans.encode(symbols, laplace(1, seed=1))


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int64])
def test_any_integer_type_and_memory_order_is_taken(dtype: Any) -> None:
    tables = laplace(6, seed=1)
    symbols = sample(tables, 40, seed=1)
    assert rans.encode(np.asfortranarray(symbols.astype(dtype)), tables) == rans.encode(symbols, tables)


@pytest.mark.parametrize(
    ("cdf", "size", "offset"),
    [
        ([[0, 5, 5, 16384]], [3], [0]),
        ([[0, 9, 5, 16384]], [3], [0]),
        ([[1, 5, 9, 16384]], [3], [0]),
        ([[0, 5, 9, 16383]], [3], [0]),
        ([[0, 5, 9, 16384]], [4], [0]),
        ([[0, 5, 9, 16384]], [0], [0]),
        ([[0, 5, 9, 16384]], [3], [2**30 + 1]),
        ([[0, 5, 9, 16384]], [3, 3], [0, 0]),
        ([[0.0, 5.0, 9.0, 16384.0]], [3], [0]),
        ([0, 16384], [1], [0]),
        (np.zeros((0, 4), int), np.zeros(0, int), np.zeros(0, int)),
    ],
)
def test_inconsistent_tables_are_refused(cdf: Any, size: Any, offset: Any) -> None:
    with pytest.raises(LocalProtocolError):
        Tables(np.array(cdf), np.array(size), np.array(offset))


def test_tables_cannot_be_changed_after_their_check() -> None:
    source = np.array([[0, 5, 9, 16384]])
    tables = Tables(source, np.array([3]), np.array([0]))
    source[0, 1] = 10_000
    assert tables.cdf[0, 1] == 5
    with pytest.raises(ValueError, match="read-only"):
        tables.cdf[0, 1] = 7


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50).filter(lambda row: sum(row) > 1e-3))
def test_no_move_of_one_slot_improves_the_quantised_probabilities(row: list[float]) -> None:
    share = np.array(row) / np.sum(row)
    widths = quantise_probabilities(row)
    assert widths.sum() == 1 << 14
    assert widths.min() >= 1
    best = (share * np.log2(widths)).sum()
    for giver in np.flatnonzero(widths > 1):
        moved = np.repeat(widths[None], len(row), 0) + np.eye(len(row), dtype=np.int64)
        moved[:, giver] -= 1
        assert (share * np.log2(np.maximum(moved, 1))).sum(axis=1).max() <= best + 1e-7


@pytest.mark.parametrize("row", [[], [0.0, 0.0], [1.0, -1.0], [np.nan], [np.inf, 1.0], np.ones(20_000), [[1.0]]])
def test_what_is_no_distribution_is_refused(row: Any) -> None:
    with pytest.raises(LocalProtocolError):
        quantise_probabilities(row)
