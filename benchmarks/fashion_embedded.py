"""An embedded compressor of Fashion-MNIST: what half of a payload, and four of five packets, still answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks import fashion
from benchmarks.fashion_codecs import Pictures
from benchmarks.fashion_symbols import Integers, activations_of_tests, right_of, symbols_of, tables_of
from partitioner.api import partition
from partitioner.compressors.bottleneck import Shape
from partitioner.compressors.methods import METHODS
from partitioner.compressors.resumable import Report
from partitioner.compressors.trainer import Plan, Teacher, train_compressor
from protocol import rans
from protocol.packets import join, split
from protocol.prefix import decode_prefix, nearest_to_zero
from protocol.tables import Tables

FOLDER = fashion.WORK / "embedded-behind-blocks.3"
CUT: Final = "blocks.3"
SHAPE: Final = Shape(64, 0, 32, 24, 1, 7)
BIT_WEIGHT, STEPS = 1.5e-4, 2_400
PACKETS, LOST = 5, 0.2
LEAST_BYTES: Final = 5
"""Head and state: what a cut payload keeps at least."""


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
    (tables,) = tables_of(compressor, parts, samples)
    activations, labels = activations_of_tests(parts)
    symbols = symbols_of(compressor, activations, 0, tables)
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
        *(
            float(right_of(compressor, parts, np.stack(found), 0, labels).mean())
            for found in (list(symbols), half, lossy)
        ),
    )


def _joined(packets: list[bytes], tables: Tables) -> Integers:
    return join(packets, tables, 1)[0] if packets else nearest_to_zero(tables, 1)
