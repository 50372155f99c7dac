"""From activations of a task's network to the symbols of a trained compressor, many items at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.task import BATCH, Task
from benchmarks.task_codecs import COUNTED, head, tail
from partitioner.api import Partition
from partitioner.compressors.bottleneck import Bottleneck, Factorised
from partitioner.compressors.fitting import fit_part
from protocol.tables import Tables

Integers = NDArray[np.int32]


def tables_of(compressor: Bottleneck, counted: Sequence[Tensor]) -> list[Tables]:
    """The tables of each level, counted on batches of activations."""
    part = fit_part(compressor, counted)
    return [Tables(*(part.tables[name][row] for name in ("cdf", "size", "offset"))) for row in range(part.rows)]


def activations_of_counted(parts: Partition, task: Task) -> list[Tensor]:
    """Of training pictures as they are, in batches."""
    return [head(parts, one) for one in torch.split(task.samples.pictures[:COUNTED], BATCH)]


def activations_of_tests(parts: Partition, task: Task) -> tuple[Tensor, NDArray[np.int64]]:
    """Of the test pictures, float32 [items, ...] at the cut; and their classes."""
    pictures, labels = task.tests
    return torch.cat([head(parts, batch) for batch in torch.split(torch.from_numpy(pictures), BATCH)]), labels


def symbols_of(compressor: Factorised, activations: Tensor, level: int, tables: Tables) -> Integers:
    """What is coded of activations: int32 [items, channels, positions], within the tables."""
    found = np.concatenate(
        [compressor.symbols(batch, level).flatten(2).numpy() for batch in torch.split(activations, BATCH)]
    )
    low = tables.offset[:, None]
    return np.clip(found, low, low + tables.size[:, None] - 1).astype(np.int32)


def right_of(
    compressor: Bottleneck, parts: Partition, symbols: Integers, level: int, labels: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which items the network still classifies rightly behind decoded symbols: bool [items]."""
    steps = compressor.log_inverse_gain[level].exp()[:, None, None]
    side = round(symbols.shape[2] ** 0.5)
    answers = []
    for batch in torch.split(torch.from_numpy(symbols).float(), BATCH):
        with torch.inference_mode():
            answers.append(tail(parts, compressor.decoder(batch.unflatten(2, (side, side)) * steps).numpy()))
    right: NDArray[np.bool_] = np.concatenate(answers) == labels
    return right
