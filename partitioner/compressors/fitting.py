"""From trained bottlenecks to the integer tables of a bundle."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partitioner.compressors.bottleneck import Bottleneck, Factorised
from partitioner.compressors.hyperprior import HyperBottleneck
from partitioner.compressors.integers import fit_hyperprior
from partitioner.parts import LearnedPart
from protocol.tables import Tables

MARGIN = 1
"""Symbols beyond the largest seen that a table still holds; what lies further out is clipped by the encoder."""


def fit_parts(bottleneck: Bottleneck, activations: Sequence[Tensor]) -> list[LearnedPart]:
    """As `fit_part`, for each encoder that a bottleneck has: the cheapest first."""
    return [fit_part(one, activations) for one in bottleneck.variants()]


def fit_part(bottleneck: Bottleneck, activations: Iterable[Tensor]) -> LearnedPart:
    """Count the symbols of every level and channel, and make integer distributions of the counts.

    Counts fit the symbols better than the prior that training used; that prior only shaped them.

    Args:
        bottleneck: trained, in evaluation mode.
        activations: float32 batches at the cut, a few thousand items in all.
    """
    if isinstance(bottleneck, HyperBottleneck):
        return fit_hyperprior(bottleneck, activations)
    assert isinstance(bottleneck, Factorised)
    seen = _count(bottleneck, activations)
    rows = [
        Tables.from_counts([counts for counts, _ in channels], np.array([low for _, low in channels]))
        for channels in seen
    ]
    longest = max(row.cdf.shape[1] for row in rows)
    last = max(int(row.cdf.max()) for row in rows)
    with torch.no_grad():
        gain = bottleneck.log_gain.exp().numpy().astype(np.float32)
        inverse_gain = bottleneck.log_inverse_gain.exp().numpy().astype(np.float32)
    return LearnedPart(
        encoder=bottleneck.encoder,
        decoder=bottleneck.decoder,
        tables={
            "gain": gain,
            "inverse_gain": inverse_gain,
            "cdf": np.stack(
                [
                    np.pad(r.cdf.astype(np.int32), ((0, 0), (0, longest - r.cdf.shape[1])), constant_values=last)
                    for r in rows
                ]
            ),
            "size": np.stack([r.size.astype(np.int32) for r in rows]),
            "offset": np.stack([r.offset.astype(np.int32) for r in rows]),
        },
        view=bottleneck.view,
    )


def _count(bottleneck: Factorised, activations: Iterable[Tensor]) -> list[list[tuple[NDArray[Any], int]]]:
    """Per level and channel: counts with half an observation added to each, and the symbol of the first count."""
    shape = bottleneck.shape
    reach = 512
    counts = np.zeros((shape.levels, shape.latent, 2 * reach + 1), dtype=np.int64)
    for batch in activations:
        for level in range(shape.levels):
            symbols = bottleneck.symbols(batch, level).clamp(-reach, reach).numpy() + reach
            for channel in range(shape.latent):
                counts[level, channel] += np.bincount(symbols[:, channel].ravel(), minlength=2 * reach + 1)
    fitted = []
    for level in range(shape.levels):
        channels = []
        for channel in range(shape.latent):
            present = np.flatnonzero(counts[level, channel])
            low, high = max(int(present[0]) - MARGIN, 0), min(int(present[-1]) + MARGIN, 2 * reach)
            channels.append((counts[level, channel, low : high + 1] + 0.5, low - reach))
        fitted.append(channels)
    return fitted
