"""An embedded compressor of Fashion-MNIST: what half of a payload, and four of five packets, still answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import fashion
from benchmarks.fashion_codecs import BATCH, COUNTED, Pictures, head, tail
from partitioner.api import Partition, partition
from partitioner.compressors.bottleneck import Bottleneck, Shape
from partitioner.compressors.fitting import fit_part
from partitioner.compressors.methods import METHODS
from partitioner.compressors.resumable import Report
from partitioner.compressors.trainer import Plan, Teacher, train_compressor
from protocol import rans
from protocol.packets import join, split
from protocol.prefix import decode_prefix, nearest_to_zero
from protocol.tables import Tables

FOLDER = fashion.WORK / "embedded-behind-blocks.3"
CUT: Final = "blocks.3"
SHAPE: Final = Shape(64, 0, 32, 20, 1, 7)
BIT_WEIGHT, STEPS = 1e-3, 2_400
PACKETS, LOST = 5, 0.2
LEAST_BYTES: Final = 5
"""Head and state: what a cut payload keeps at least."""

Integers = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Embedded:
    """Mean bytes of whole payloads and of all packets of one, and shares of right answers."""

    payload_bytes: float
    packets_bytes: float
    whole: float
    half: float
    lossy: float


def measure(network: fashion.FashionNet, report: Report) -> Embedded:
    """Train and measure; kept in the results folder."""
    kept = FOLDER / "measured.npz"
    if not kept.is_file():
        beside = kept.with_suffix(".partial.npz")
        np.savez(beside, figures=np.array(_measured(network, report)))
        beside.replace(kept)
    with np.load(kept, allow_pickle=False) as found:
        return Embedded(*found["figures"].tolist())


def _measured(network: fashion.FashionNet, report: Report) -> tuple[float, ...]:
    samples = Pictures()
    taught = partition(network, samples.pictures[:2], cuts=[CUT, "blocks.4"])
    compressor = train_compressor(
        METHODS["embedded"], SHAPE, Teacher(taught.segments[0], taught.segments[1:], True), samples,
        Plan((BIT_WEIGHT,), fashion.steps_of(STEPS)),
        work=FOLDER, report=lambda told, done: report(f"embedded behind {CUT}: {told}", done), warn=print,
    )  # fmt: skip
    parts = partition(network, samples.pictures[:2], cuts=[CUT])
    counted = min(COUNTED, len(samples))
    part = fit_part(compressor, [head(parts, samples.pictures[i : i + BATCH]) for i in range(0, counted, BATCH)])
    tables = Tables(*(part.tables[name][0] for name in ("cdf", "size", "offset")))
    pictures, labels = fashion.read("test")
    symbols = np.concatenate([
        _symbols(compressor, parts, pictures[i : i + BATCH], tables) for i in range(0, len(labels), BATCH)
    ])  # fmt: skip
    payloads = [rans.encode(item, tables) for item in symbols]
    half = [decode_prefix(one[: max(len(one) // 2, LEAST_BYTES)], tables, 1)[0] for one in payloads]
    sent = [split(item, tables, PACKETS) for item in symbols]
    arrives = np.random.default_rng(1).random((len(sent), PACKETS)) >= LOST
    lossy = [
        _joined([one for one, here in zip(*pair, strict=True) if here], tables)
        for pair in zip(sent, arrives, strict=True)
    ]
    return (
        float(np.mean([len(one) for one in payloads])),
        float(np.mean([sum(map(len, packets)) for packets in sent])),
        *(_right(compressor, parts, np.stack(found), labels) for found in (list(symbols), half, lossy)),
    )


def _symbols(compressor: Bottleneck, parts: Partition, pictures: fashion.Pictures, tables: Tables) -> Integers:
    """int32 [items, channels, 1], within the tables."""
    found = compressor.symbols(head(parts, torch.from_numpy(pictures)), 0).flatten(2).numpy()
    low = tables.offset[:, None]
    return np.clip(found, low, low + tables.size[:, None] - 1).astype(np.int32)


def _joined(packets: list[bytes], tables: Tables) -> Integers:
    return join(packets, tables, 1)[0] if packets else nearest_to_zero(tables, 1)


def _right(compressor: Bottleneck, parts: Partition, symbols: Integers, labels: NDArray[np.int64]) -> float:
    steps = compressor.log_inverse_gain[0].exp()[:, None, None]
    answers = []
    for start in range(0, len(labels), BATCH):
        latent = torch.from_numpy(symbols[start : start + BATCH]).float().unflatten(2, (1, 1))
        with torch.inference_mode():
            answers.append(tail(parts, compressor.decoder(latent * steps).numpy()))
    return float((np.concatenate(answers) == labels).mean())
