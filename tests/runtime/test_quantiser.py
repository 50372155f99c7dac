"""Scalar quantisers of learned levels: the zone around zero, points of reconstruction, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from runtime.codecs.quantiser import Quantiser

GAIN = np.array([1.0, 4.0], np.float32)


def quantiser(**changes: Any) -> Quantiser:
    return Quantiser(**({"gain": GAIN, "inverse_gain": 1 / GAIN} | changes))


def test_without_offsets_it_rounds_to_nearest() -> None:
    latent = np.array([[0.4, -0.6, 2.5], [0.1, 0.2, -1.0]], np.float32)
    assert quantiser().quantise(latent).tolist() == [[0, -1, 2], [0, 1, -4]]
    np.testing.assert_array_equal(quantiser().restore(np.array([[1, -2], [0, 3]], np.int32)), [[1, -2], [0, 0.75]])


def test_a_smaller_offset_widens_the_zone_of_zero_alike_on_both_sides() -> None:
    narrow = quantiser(rounding=np.array([0.25, 0.5], np.float32))
    latent = np.array([[0.74, -0.74, 0.76, -1.8], [0.13, -0.13, 0.12, -0.12]], np.float32)
    assert narrow.quantise(latent).tolist() == [[0, 0, 1, -2], [1, -1, 0, 0]]


def test_points_of_reconstruction_are_shifted_towards_zero_and_zero_stays() -> None:
    shifted = quantiser(shift=np.array([[-0.25, -0.125], [0, 0]], np.float32))
    restored = shifted.restore(np.array([[0, 1, -1, 3], [0, 1, -1, 3]], np.int32))
    assert restored.dtype == np.float32
    np.testing.assert_array_equal(restored, [[0, 0.75, -0.75, 2.875], [0, 0.25, -0.25, 0.75]])


def test_means_of_what_fell_into_a_zone_restore_a_laplacian_better_than_its_middle() -> None:
    latent = np.random.default_rng(1).laplace(size=(2, 20_000)).astype(np.float32)
    plain = quantiser(gain=np.ones(2, np.float32), inverse_gain=np.ones(2, np.float32))
    symbols = plain.quantise(latent).astype(np.int32)
    shift = np.full((2, 2), -(0.5 / np.tanh(0.5) - 1), np.float32)  # of an exponential over a unit interval
    shifted = Quantiser(plain.gain, plain.inverse_gain, shift=shift)
    errors = [float(np.square(one.restore(symbols) - latent).mean()) for one in (plain, shifted)]
    assert errors[1] < errors[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gain": -GAIN}, "negative"),
        ({"inverse_gain": GAIN * np.float32("nan")}, "not finite"),
        ({"rounding": np.array([0.6, 0.1], np.float32)}, "between 0 and 0.5"),
        ({"rounding": np.array([np.nan, 0.1], np.float32)}, "between 0 and 0.5"),
        ({"shift": np.zeros((2, 3), np.float32)}, "two for each channel"),
        ({"shift": np.full((2, 2), 1.5, np.float32)}, "between -1 and 1"),
    ],
)
def test_what_no_codec_can_use_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        quantiser(**changes)
