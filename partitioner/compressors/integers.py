"""The hyper decoder of a trained bottleneck in integers, and tables counted with it: see docs/bitstream.md.

Rounding the weights changes means and scales a little. Symbols are counted with the integer form, so the tables fit
what a device will send, and the decoder restores from the very means that the encoder took away.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special
from torch import Tensor, nn

from partitioner.compressors.hyperprior import REPEAT, HyperBottleneck
from partitioner.errors import PartitionError
from partitioner.parts import LearnedPart
from protocol.tables import Tables
from runtime.codecs.hyper_decoder import FRACTION_BITS, LIMIT, HyperDecoder, Layer

SCALES: Final = 20
NARROWEST, WIDEST = 0.11, 16.0
"""Standard deviations of the first and the last table, in symbols; those between are a constant factor apart."""
_STEP: Final = math.log(WIDEST / NARROWEST) / (SCALES - 1)
_HIDDEN_BITS: Final = 8
"""What lies between the layers is in 256ths."""
_REACH: Final = 512
_GAUSSIAN_WEIGHT: Final = 30.0
"""Observations that the Gaussian of a table's scale counts for."""
Row = dict[str, NDArray[Any]]


def fit_hyperprior(bottleneck: HyperBottleneck, activations: Iterable[Tensor]) -> LearnedPart:
    """Integer form and tables of every level.

    Args:
        bottleneck: trained, in evaluation mode.
        activations: float32 batches at the cut, a few thousand items in all.
    """
    levels = [Counted(bottleneck, level) for level in range(bottleneck.shape.levels)]
    for batch in activations:
        with torch.inference_mode():
            latents = bottleneck.encoder(batch).float()
            hypers = bottleneck.hyper_encoder(latents).float()
        for counted in levels:
            counted.add(latents.numpy(), hypers.numpy())
    return LearnedPart(
        encoder=bottleneck.encoder,
        decoder=bottleneck.decoder,
        tables=stacked([counted.row() for counted in levels]),
        hyper_encoder=bottleneck.hyper_encoder,
        view=bottleneck.view,
    )


class Counted:
    """One level: its integer form, and how often each symbol occurred."""

    def __init__(self, bottleneck: HyperBottleneck, level: int) -> None:
        with torch.no_grad():
            self.gain, self.inverse_gain, self.hyper_gain = (
                of_levels[level].exp().numpy().astype(np.float32)
                for of_levels in (bottleneck.log_gain, bottleneck.log_inverse_gain, bottleneck.log_hyper_gain)
            )
        self.decoder = integer_decoder(bottleneck, level)
        self._hyper = np.zeros((len(self.hyper_gain), 2 * _REACH + 1), np.int64)
        self._rest = np.zeros((SCALES, 2 * _REACH + 1), np.int64)

    def add(self, latents: NDArray[np.float32], hypers: NDArray[np.float32]) -> None:
        """Count latents [items, channels, height, width] with their hyperpriors [items, channels, rows, columns]."""
        fronts = np.clip(np.rint(hypers * self.hyper_gain[:, None, None]), -_REACH, _REACH).astype(np.int64)
        means, scales = self.decoder.run(fronts, *latents.shape[2:])
        rests = np.rint(latents * self.gain[:, None, None] - means / (1 << FRACTION_BITS))
        channels = np.arange(fronts.shape[1])[:, None, None]
        _count(self._hyper, np.broadcast_to(channels, fronts.shape), fronts)
        _count(self._rest, scales, np.clip(rests, -_REACH, _REACH).astype(np.int64))

    def row(self) -> Row:
        """This level's row of the tables file."""
        fitted = [*map(_hyper_table, self._hyper), *(_table_of(*each) for each in enumerate(self._rest))]
        tables = Tables.from_counts([counts for counts, _ in fitted], np.array([low for _, low in fitted]))
        layers = (self.decoder.hidden, self.decoder.last)
        return {
            "gain": self.gain,
            "inverse_gain": self.inverse_gain,
            "hyper_gain": self.hyper_gain,
            "cdf": tables.cdf.astype(np.int32),
            "size": tables.size,
            "offset": tables.offset,
            **{f"hyper_weight_{i}": layer.weight for i, layer in enumerate(layers)},
            **{f"hyper_bias_{i}": layer.bias for i, layer in enumerate(layers)},
            **{f"hyper_shift_{i}": layer.shift for i, layer in enumerate(layers)},
        }


def integer_decoder(bottleneck: HyperBottleneck, level: int) -> HyperDecoder:
    """The way from a level's hyperprior to means and scales, with its gains folded into the weights."""
    with torch.no_grad():
        gain, hyper_gain = (x[level].exp().double() for x in (bottleneck.log_gain, bottleneck.log_hyper_gain))
        hidden, hidden_bias = _doubles(bottleneck.hyper_hidden)
        last, last_bias = _doubles(bottleneck.hyper_last)
        hidden = hidden / hyper_gain[:, None, None] * (1 << _HIDDEN_BITS)
        to_mean = gain * (1 << FRACTION_BITS)
        factor = torch.cat([to_mean, torch.full_like(gain, 1 / _STEP)])
        start = torch.cat([torch.zeros_like(gain), (gain.log() - math.log(NARROWEST)) / _STEP])
        last = last * factor[:, None, None, None] / (1 << _HIDDEN_BITS)
    return HyperDecoder(
        _layer(hidden.numpy(), (hidden_bias * (1 << _HIDDEN_BITS)).numpy()),
        _layer(last.numpy(), (last_bias * factor + start).numpy()),
        REPEAT,
        SCALES,
    )


def stacked(rows: Sequence[Row]) -> Row:
    """Rows of all levels in one array for each name; shorter distributions are filled up."""
    longest = max(row["cdf"].shape[1] for row in rows)
    for row in rows:
        row["cdf"] = np.pad(row["cdf"], ((0, 0), (0, longest - row["cdf"].shape[1])), mode="edge")
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _doubles(layer: nn.Conv2d) -> tuple[Tensor, Tensor]:
    assert layer.bias is not None
    return layer.weight.double(), layer.bias.double()


def _layer(weight: NDArray[np.float64], bias: NDArray[np.float64]) -> Layer:
    """The largest power of two for each output with which weights fit 16 bits and the bias 31."""
    most = np.maximum(np.abs(weight).max((1, 2, 3)), 1e-9)
    room = np.floor(np.minimum(np.log2(LIMIT / most), 30 - np.log2(np.abs(bias) + 1)))
    if room.min() < 1:
        raise PartitionError("a weight of the hyper decoder is too large for 16 bits; train with a lower learning_rate")
    shift = np.minimum(room, 31).astype(np.int32)
    power = np.exp2(shift)
    return Layer(
        np.rint(weight * power[:, None, None, None]).astype(np.int16), np.rint(bias * power).astype(np.int32), shift
    )


def _count(counts: NDArray[np.int64], rows: NDArray[np.int64], symbols: NDArray[np.int64]) -> None:
    places = rows.ravel() * counts.shape[1] + symbols.ravel() + _REACH
    counts += np.bincount(places, minlength=counts.size).reshape(counts.shape)


def _hyper_table(counts: NDArray[np.int64]) -> tuple[NDArray[np.float64], int]:
    """Counts with half an observation added to each, to one symbol beyond those seen; and the first symbol."""
    present = np.flatnonzero(counts)
    low, high = max(int(present[0]) - 1, 0), min(int(present[-1]) + 1, 2 * _REACH)
    return counts[low : high + 1] + 0.5, low - _REACH


def _table_of(scale: int, counts: NDArray[np.int64]) -> tuple[NDArray[np.float64], int]:
    """Counts beside the Gaussian of this scale, to a symbol beyond those seen and four deviations; the first symbol."""
    deviation = NARROWEST * math.exp(_STEP * scale)
    present = np.abs(np.flatnonzero(counts) - _REACH)
    reach = min(max(math.ceil(4 * deviation), int(present.max(initial=0)) + 1), _REACH)
    edges = (np.arange(-reach, reach + 2) - 0.5) / deviation
    gaussian = np.diff(special.ndtr(edges))
    return counts[_REACH - reach : _REACH + reach + 1] + _GAUSSIAN_WEIGHT * gaussian + 1e-3, -reach
