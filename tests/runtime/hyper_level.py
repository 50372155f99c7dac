"""A level with a hyperprior whose weights are drawn at random: nothing learnt, everything in range."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocol.tables import Tables
from runtime.codecs import HyperpriorCodec
from runtime.manifest import Hyperprior, LearnedLevel, TensorSpec

SCALES = 6
SPEC = TensorSpec(name="features", dtype="float32", shape=(3, 5, 4))


def level_of(hyper: tuple[int, ...] = (2, 3, 2), latent: tuple[int, ...] = (3, 5, 4)) -> LearnedLevel:
    """The manifest's entry of a level, here without files."""
    return LearnedLevel(
        encoder="encoder.onnx",
        decoder="decoder.onnx",
        tables="tables.safetensors",
        row=0,
        latent=TensorSpec(name="latent", dtype="float32", shape=latent),
        hyperprior=Hyperprior(
            encoder="hyper_encoder.onnx", latent=TensorSpec(name="hyper", dtype="float32", shape=hyper)
        ),
        encoder_macs=0,
        decoder_macs=0,
    )


def row_of(seed: int = 0, hyper: int = 2, width: int = 4, latent: int = 3) -> dict[str, NDArray[Any]]:
    """One row of a tables file: means and scales that really move with the hyperprior."""
    random = np.random.default_rng(seed)
    values = np.arange(-9, 10)
    widths = [1.0] * hyper + [0.2 * 1.8**scale for scale in range(SCALES)]
    counts = [np.exp(-0.5 * (values / each) ** 2) + 1e-3 for each in widths]
    tables = Tables.from_counts(counts, np.full(len(counts), -9))
    return {
        "gain": random.uniform(0.5, 2, latent).astype(np.float32),
        "inverse_gain": random.uniform(0.5, 2, latent).astype(np.float32),
        "hyper_gain": random.uniform(0.5, 2, hyper).astype(np.float32),
        "cdf": tables.cdf.astype(np.int32),
        "size": tables.size,
        "offset": tables.offset,
        "hyper_weight_0": random.integers(-1000, 1000, (width, hyper, 3, 3), np.int16),
        "hyper_bias_0": random.integers(-1000, 1000, width, np.int32),
        "hyper_shift_0": random.integers(1, 6, width, np.int32),
        "hyper_weight_1": random.integers(-3000, 3000, (2 * latent, width, 3, 3), np.int16),
        "hyper_bias_1": random.integers(-1000, 1000, 2 * latent, np.int32),
        "hyper_shift_1": np.repeat([12, 18], latent).astype(np.int32),
    }


class NoGraphs:
    """Where only symbols are coded."""

    def at(self, path: str, data: object) -> object:
        raise AssertionError(f"{path} is not needed")


def codec_of(row: dict[str, NDArray[Any]], level: LearnedLevel | None = None) -> HyperpriorCodec:
    """The codec of a level for symbols alone."""
    return HyperpriorCodec(row, NoGraphs(), SPEC, level or level_of())  # type: ignore[arg-type]


def draw(seed: int) -> NDArray[np.int32]:
    """Symbols that the tables hold, those of the hyperprior first."""
    random = np.random.default_rng(seed)
    front = np.rint(random.normal(0, 1.5, 12)).clip(-9, 9)
    return np.concatenate([front, np.rint(random.normal(0, 2, 60)).clip(-9, 9)]).astype(np.int32)
