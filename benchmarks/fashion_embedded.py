"""An embedded compressor of Fashion-MNIST: what half of a payload, and four of five packets, still answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from torch import nn

from benchmarks import fashion
from benchmarks.task import steps_of
from benchmarks.task_symbols import (
    Integers,
    activations_of_counted,
    activations_of_tests,
    right_of,
    symbols_of,
    tables_of,
)
from partitioner.api import partition
from partitioner.compressors.bottleneck import Factorised, Shape
from partitioner.compressors.methods import METHODS
from partitioner.compressors.resumable import Report
from partitioner.compressors.trainer import Plan, Teacher, train_compressor
from protocol import rans
from protocol.packets import join, split
from protocol.prefix import decode_prefix, nearest_to_zero
from protocol.tables import Tables

FOLDER = fashion.WORK / "embedded-behind-blocks.3"
CUT: Final = "blocks.3"
KEPT: Final = FOLDER / "measured.npz"
SHAPE: Final = Shape(64, 0, 32, 48, 1, 7)
BIT_WEIGHT, STEPS = 2e-5, 3_000
"""Cheap bits and many channels: of ten bytes, half is head and state, which are four, and not one whole word."""
SHARES: Final = (0.35, 0.5, 0.75)
"""Of a payload's bytes that a cut leaves."""
PACKETS, LOST = 5, 0.2
LEAST_BYTES: Final = 5
"""Head and state: what a cut payload keeps at least."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """Mean bytes of whole payloads and of all packets of one, and shares of right answers; `cut`: one for each of
    `SHARES`."""

    payload_bytes: float
    packets_bytes: float
    whole: float
    lossy: float
    cut: tuple[float, ...]

    @property
    def half(self) -> float:
        """With half of the payload."""
        return self.cut[SHARES.index(0.5)]


def measure(network: nn.Module, report: Report) -> Embedded:
    """Train and measure; kept in the results folder."""
    if not KEPT.is_file():
        beside = KEPT.with_suffix(".partial.npz")
        np.savez(beside, figures=np.array(_measured(network, report)))
        beside.replace(KEPT)
    with np.load(KEPT, allow_pickle=False) as found:
        payload_bytes, packets_bytes, whole, lossy, *cut = found["figures"].tolist()
    return Embedded(payload_bytes, packets_bytes, whole, lossy, tuple(cut))


def _measured(network: nn.Module, report: Report) -> tuple[float, ...]:
    samples = fashion.TASK.samples
    taught = partition(network, samples.pictures[:2], cuts=[CUT, "blocks.4"])
    compressor = train_compressor(
        METHODS["embedded"], SHAPE, Teacher(taught.segments[0], taught.segments[1:], True), samples,
        Plan((BIT_WEIGHT,), steps_of(STEPS)),
        work=FOLDER, report=lambda told, done: report(f"embedded behind {CUT}: {told}", done), warn=print,
    )  # fmt: skip
    assert isinstance(compressor, Factorised)
    parts = partition(network, samples.pictures[:2], cuts=[CUT])
    (tables,) = tables_of(compressor, activations_of_counted(parts, fashion.TASK))
    activations, labels = activations_of_tests(parts, fashion.TASK)
    symbols = symbols_of(compressor, activations, 0, tables)
    payloads = [rans.encode(item, tables) for item in symbols]
    cut = [
        [decode_prefix(one[: max(int(share * len(one)), LEAST_BYTES)], tables, 1)[0] for one in payloads]
        for share in SHARES
    ]
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
            for found in (list(symbols), lossy, *cut)
        ),
    )


def _joined(packets: list[bytes], tables: Tables) -> Integers:
    return join(packets, tables, 1)[0] if packets else nearest_to_zero(tables, 1)
