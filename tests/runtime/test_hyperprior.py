"""The codec with a hyperprior: integers from the first byte to the last table, the same everywhere."""

from __future__ import annotations

import contextlib
import json
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from protocol import rans_native
from protocol.errors import LocalProtocolError
from runtime.codecs.hyper_decoder import LIMIT, HyperDecoder, Layer
from runtime.errors import BundleInvalid, UndecodablePayload, UnsupportedShape
from tests.protocol.bitstream_reader import Refused, convolve, read_hyperprior
from tests.runtime.hyper_level import SCALES, codec_of, draw, level_of, row_of

GOLDEN = Path(__file__).with_name("golden") / "hyperprior.json"
SHAPES = ((2, 3, 2), (3, 5, 4))


@pytest.fixture(params=["c", "numpy"])
def coder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "numpy":
        monkeypatch.setattr(rans_native, "library", lambda: None)
    elif rans_native.library() is None:
        pytest.skip("the C coder is not built here")
    return str(request.param)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    outputs=st.integers(1, 3),
    inputs=st.integers(1, 3),
    side=st.sampled_from([1, 3, 5]),
    height=st.integers(1, 4),
    width=st.integers(1, 4),
    extreme=st.booleans(),
)
def test_a_layer_computes_what_single_products_in_integers_give(
    seed: int, outputs: int, inputs: int, side: int, height: int, width: int, extreme: bool
) -> None:
    draws = np.random.default_rng(seed)
    most = LIMIT if extreme else 40
    weight = draws.integers(-most, most + 1, (outputs, inputs, side, side)).astype(np.int16)
    bias = draws.integers(-(2**31), 2**31, outputs).astype(np.int32)
    shift = draws.integers(1, 32, outputs).astype(np.int32)
    plane = draws.integers(-most, most + 1, (inputs, height, width))
    expected = convolve(plane.tolist(), weight.tolist(), bias.tolist(), shift.tolist())
    layer = Layer(weight, bias, shift)
    assert layer.run(plane).tolist() == expected
    assert layer.run(np.stack([-plane, plane]))[1].tolist() == expected


def test_means_and_scales_stay_in_range_and_move_with_the_symbols() -> None:
    row = row_of()
    layers = [Layer(*(row[f"hyper_{part}_{i}"] for part in ("weight", "bias", "shift"))) for i in range(2)]
    decoder = HyperDecoder(layers[0], layers[1], 2, SCALES)
    seen = set()
    for seed in range(30):
        symbols = np.random.default_rng(seed).integers(-LIMIT, LIMIT + 1, (2, 3, 2)) >> seed % 16
        means, scales = decoder.run(symbols, 5, 4)
        assert means.shape == scales.shape == (3, 5, 4)
        assert np.abs(means).max() <= LIMIT
        seen |= set(scales.ravel().tolist())
    assert seen == set(range(SCALES))


def test_the_golden_payload_gives_the_kept_symbols_and_latent_and_is_written_again(coder: str) -> None:
    kept = json.loads(GOLDEN.read_text())
    row = {name: np.array(value, kept["dtypes"][name]) for name, value in kept["row"].items()}
    codec = codec_of(row)
    symbols = np.array(kept["symbols"], np.int32)
    payload = bytes.fromhex(kept["payload"])
    assert codec.encode_symbols(symbols) == payload
    assert np.array_equal(codec.decode_symbols(payload), symbols)
    latent = codec.latent(payload)
    assert latent.dtype == np.float32
    assert latent.tobytes() == np.array(kept["latent"], "<f4").tobytes()


def test_the_decoder_written_from_the_page_reads_the_golden_payload() -> None:
    kept = json.loads(GOLDEN.read_text())
    symbols, in_64ths = read_hyperprior(bytes.fromhex(kept["payload"]), kept["row"], *SHAPES)
    assert symbols == kept["symbols"]
    steps = np.repeat(np.array(kept["row"]["inverse_gain"], np.float32), 20)
    assert (np.array(in_64ths, np.float32) / np.float32(64) * steps).tolist() == kept["latent"]


@pytest.mark.parametrize("seed", range(5))
def test_what_is_drawn_comes_back_through_either_coder(coder: str, seed: int) -> None:
    row = row_of(seed)
    codec = codec_of(row)
    symbols = draw(seed)
    payload = codec.encode_symbols(symbols)
    assert len(payload) <= codec.max_payload_bytes
    assert np.array_equal(codec.decode_symbols(payload), symbols)
    assert (
        read_hyperprior(payload, {name: value.tolist() for name, value in row.items()}, *SHAPES)[0] == symbols.tolist()
    )


@pytest.mark.parametrize("plane", [1, 2, 3, 7])
def test_a_plane_of_any_size_has_a_hyperprior(plane: int) -> None:
    small = -(-plane // 2)
    level = level_of((2, small, small), (3, plane, plane))
    codec = codec_of(row_of(), level)
    count = 2 * small**2 + 3 * plane**2
    symbols = np.random.default_rng(0).integers(-2, 3, count).astype(np.int32)
    assert np.array_equal(codec.decode_symbols(codec.encode_symbols(symbols)), symbols)


def test_damaged_payloads_end_in_a_latent_or_a_typed_error_and_the_page_agrees(coder: str) -> None:
    row = row_of(1)
    codec = codec_of(row)
    lists = {name: value.tolist() for name, value in row.items()}
    payloads = [codec.encode_symbols(draw(seed)) for seed in range(4)]
    generator = random.Random(1)
    outcomes = {True: 0, False: 0}
    for turn in range(700):
        data = bytearray(generator.choice(payloads))
        for _ in range(generator.choice((1, 1, 2, 6))):
            data[generator.randrange(len(data))] = generator.randrange(256)
        if turn % 5 == 0:
            data[generator.randrange(len(data)) :] = generator.randbytes(generator.randrange(40))
        try:
            symbols = codec.decode_symbols(bytes(data))
        except UndecodablePayload:
            symbols = None
        outcomes[symbols is not None] += 1
        if symbols is not None:
            assert np.isfinite(codec.restore(symbols)).all()
            assert codec.encode_symbols(symbols) == bytes(data), "there is one payload for each list of symbols"
        if turn % 30 == 0:
            assert _read(bytes(data), lists) == (None if symbols is None else symbols.tolist())
    assert outcomes[False] > 400


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_two_hundred_thousand_damaged_payloads_end_in_a_latent_or_a_typed_error_in_time() -> None:
    """Timed by the processor's clock, which a busy machine does not stretch."""
    codec = codec_of(row_of(3))
    payloads = [codec.encode_symbols(draw(seed)) for seed in range(20)]
    generator, slowest = random.Random(2), 0.0
    for _ in range(200_000):
        data = bytearray(generator.choice(payloads))
        for _ in range(generator.choice((1, 1, 2, 6))):
            data[generator.randrange(len(data))] = generator.randrange(256)
        del data[generator.choice((len(data), len(data), generator.randrange(len(data)))) :]
        start = time.thread_time()
        with contextlib.suppress(UndecodablePayload):
            assert codec.latent(bytes(data)).shape == (3, 5, 4)
        slowest = max(slowest, time.thread_time() - start)
    assert slowest < 0.1


def _read(payload: bytes, lists: dict[str, Any]) -> list[int] | None:
    try:
        return read_hyperprior(payload, lists, *SHAPES)[0]
    except Refused:
        return None


def test_every_truncation_is_refused_and_too_long_a_payload_before_it_is_read() -> None:
    row = row_of(2)
    codec = codec_of(row)
    payload = codec.encode_symbols(draw(2))
    for length in range(len(payload)):
        with pytest.raises(UndecodablePayload):
            codec.decode_symbols(payload[:length])
    with pytest.raises(UndecodablePayload, match="at most"):
        codec.decode_symbols(bytes(codec.max_payload_bytes + 1))


def test_symbols_that_are_not_those_of_the_level_are_our_own_error() -> None:
    codec = codec_of(row_of())
    for wrong in (np.zeros(71, np.int32), np.zeros(72, np.int64), np.zeros((8, 9), np.int32)):
        with pytest.raises(UnsupportedShape):
            codec.encode_symbols(wrong)
    with pytest.raises(LocalProtocolError, match="clip"):
        codec.encode_symbols(np.full(72, 9, np.int32) + np.arange(72, dtype=np.int32) // 71)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("hyper_weight_0", lambda array: array.astype(np.int32), "int16"),
        ("hyper_weight_0", lambda array: array[:, :, :2, :2], "odd"),
        ("hyper_weight_0", lambda array: array[:, :1], "not for this latent"),
        ("hyper_weight_1", lambda array: array[:, :1], "do not fit each other"),
        ("hyper_weight_0", lambda array: np.broadcast_to(array[:, :1, :1, :1], (4, 1 << 22, 1, 1)), "52 bits"),
        ("hyper_weight_1", None, "lack 'hyper_weight_1'"),
        ("hyper_shift_1", lambda array: array * 0, "1 to 31"),
        ("hyper_bias_1", lambda array: array[:-1], "one for each output"),
        ("hyper_gain", lambda array: array[:1], "of length 2"),
        ("hyper_gain", None, "need 'hyper_gain'"),
        ("size", None, "need 'cdf' as int32 with 2 axes"),
        ("offset", lambda array: array + np.int32(40_000), "beyond 32767"),
    ],
)
def test_tables_that_are_no_hyperprior_are_refused(name: str, change: Any, words: str) -> None:
    row: dict[str, NDArray[Any]] = row_of()
    if change is None:
        del row[name]
    else:
        row[name] = change(row[name])
    with pytest.raises(BundleInvalid, match=words):
        codec_of(row)


def test_tables_without_any_scale_are_refused() -> None:
    row = row_of()
    for name in ("cdf", "size", "offset"):
        row[name] = row[name][:2]
    with pytest.raises(BundleInvalid, match="no table for any scale"):
        codec_of(row)


@pytest.mark.parametrize("hyper", [(2, 3, 3), (2, 5, 2), (2, 4, 4), (2, 3), (2, 6, 5)])
def test_a_manifest_whose_hyperprior_does_not_fit_its_latent_is_refused(hyper: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match=r"does not fit|float32 \[channels"):
        level_of(hyper)


def _write() -> None:
    row = row_of(7)
    codec = codec_of(row)
    symbols = draw(7)
    payload = codec.encode_symbols(symbols)
    kept = {
        "row": {name: value.tolist() for name, value in row.items()},
        "dtypes": {name: value.dtype.str for name, value in row.items()},
        "symbols": symbols.tolist(),
        "payload": payload.hex(),
        "latent": codec.latent(payload).ravel().tolist(),
    }
    GOLDEN.parent.mkdir(exist_ok=True)
    if not GOLDEN.exists():  # what was kept is never written again
        GOLDEN.write_text(json.dumps(kept, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    _write()
