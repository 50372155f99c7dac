"""Our entropy coder on features of MobileNetV2, beside CompressAI's and constriction: speed as ratios, size exactly."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import constriction
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks import photographs
from benchmarks.figure import Figure
from partitioner.compressors.prior import EntropyBottleneck
from protocol import rans, rans_native, rans_numpy
from protocol.tables import Tables

SHAPES = {
    (24, 28, 28): ("net.features.3", "every second position"),
    (256, 7, 7): ("net.features.17", "its first channels"),
    (48, 28, 28): ("net.features.4.conv.0", "its first channels"),
    (64, 56, 56): ("net.features.3.conv.0", "its first channels"),
}
"""Shape and the module whose output it is taken from."""
STEP = 0.4
"""Quantiser step in standard deviations of the activation: near 98 % agreement without a transform."""
FITTED, RUNS = 24, 15


@dataclass(frozen=True)
class Case:
    """Symbols of one picture, [channels, positions], and tables fitted to other pictures."""

    shape: tuple[int, int, int]
    symbols: NDArray[np.int32]
    tables: Tables

    @property
    def name(self) -> str:
        return "x".join(map(str, self.shape))


def figures() -> Sequence[Figure]:
    """Nothing where the data are not at hand."""
    if not photographs.at_hand():
        return []
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [figure for case in _cases() for figure in (*_speeds(case), *_sizes(case))]
    finally:
        torch.set_num_threads(before)


def _cases() -> list[Case]:
    model = photographs.MobileNet()
    pictures = torch.from_numpy(photographs.photographs(FITTED + 1))
    return [_case(shape, _output(model, module, pictures)) for shape, (module, _) in SHAPES.items()]


def _output(model: nn.Module, module: str, pictures: Tensor) -> Tensor:
    kept: list[Tensor] = []
    handle = model.get_submodule(module).register_forward_hook(lambda _, __, output: kept.append(output))
    try:
        photographs.in_batches(model, pictures)
    finally:
        handle.remove()
    return torch.cat(kept)


def _case(shape: tuple[int, int, int], output: Tensor) -> Case:
    channels, height, _ = shape
    stride = output.shape[2] // height
    taken = output[:, :channels, ::stride, ::stride]
    symbols = (taken / (STEP * taken[:FITTED].std())).round().int().flatten(2).numpy()
    lows = symbols.min((0, 2))
    counts = [np.bincount((symbols[:FITTED, c] - lows[c]).ravel(), minlength=np.ptp(symbols[:, c]) + 1) + 0.05
              for c in range(channels)]  # fmt: skip
    return Case(shape, symbols[FITTED], Tables.from_counts(counts, lows))


def _speeds(case: Case) -> list[Figure]:
    reference = reference_of(case.tables)
    values = torch.from_numpy(case.symbols).float().reshape(1, *case.shape)
    theirs, ours = reference.compress(values), rans.encode(case.symbols, case.tables)
    assert torch.equal(reference.decompress(theirs, case.shape[1:])[0].int().flatten(1), torch.from_numpy(case.symbols))
    positions = case.symbols.shape[1]
    log2_lanes = ours[0] & 15
    tasks: dict[str, Callable[[], object]] = {
        "encoding, theirs": lambda: reference.compress(values),
        "encoding": lambda: rans.encode(case.symbols, case.tables),
        "encoding, NumPy": lambda: rans_numpy.encode(case.symbols, case.tables, log2_lanes),
        "decoding, theirs": lambda: reference.decompress(theirs, case.shape[1:]),
        "decoding": lambda: rans.decode(ours, case.tables, positions),
        "decoding, NumPy": lambda: rans_numpy.decode(ours, case.tables, positions),
    }
    taken = {name: [_seconds(task) for _ in range(RUNS)] for name, task in tasks.items()}
    made = []
    for what, least in (("encoding", 8.0), ("decoding", 10.0)):
        told = f"CompressAI, {statistics.median(taken[what + ', theirs']) * 1e3:.2f} ms"
        for ours_name, target in ((what, least), (f"{what}, NumPy", 1.0)):
            if ours_name == what and rans_native.library() is None:
                continue
            pairs = zip(taken[f"{what}, theirs"], taken[ours_name], strict=True)
            ratios = [their / our for their, our in pairs]
            made.append(Figure.of_runs(f"{case.name}: {ours_name}", ratios, "times", target, "at least", told))
    return made


def _seconds(task: Callable[[], object]) -> float:
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def reference_of(tables: Tables) -> Any:
    """CompressAI's coder with the same distributions: its tables have 16 bits and an escape at the end."""
    bottleneck = EntropyBottleneck(tables.rows).eval()
    lengths = tables.size + 2
    cdf = np.zeros((tables.rows, int(lengths.max())), np.int32)
    for row, size in enumerate(tables.size):
        scaled = tables.cdf[row, : size + 1].astype(np.int64) * 4
        scaled[size] -= 1
        cdf[row, : size + 1], cdf[row, size + 1] = scaled, 1 << 16
    bottleneck.quantiles.data[:, 0, 1] = 0.0
    bottleneck._quantized_cdf = torch.from_numpy(cdf)
    bottleneck._cdf_length = torch.from_numpy(lengths)
    bottleneck._offset = torch.from_numpy(np.array(tables.offset))
    return bottleneck


def cross_entropy_bytes(symbols: NDArray[np.int32], tables: Tables) -> float:
    """What an ideal coder with these tables needs."""
    widths = np.diff(tables.cdf.astype(np.int64), axis=1)
    width = np.take_along_axis(widths, symbols - tables.offset[:, None], axis=1)
    return float(-np.log2(width / rans.TOTAL).sum() / 8)


def constriction_bytes(symbols: NDArray[np.int32], tables: Tables) -> int:
    """Bytes of constriction's ANS coder with the same probabilities."""
    coder = constriction.stream.stack.AnsCoder()
    for row in range(tables.rows):
        width = np.diff(tables.cdf[row, : tables.size[row] + 1].astype(np.int64)).astype(np.float64)
        if len(width) > 1:
            model = constriction.stream.model.Categorical(width / width.sum(), perfect=False)
            coder.encode_reverse(symbols[row] - tables.offset[row], model)
    return int(coder.num_words()) * 4


def _sizes(case: Case) -> list[Figure]:
    ours, ideal = len(rans.encode(case.symbols, case.tables)), cross_entropy_bytes(case.symbols, case.tables)
    theirs = constriction_bytes(case.symbols, case.tables)
    few = max(_excess_of_few(case, channel) for channel in range(0, case.shape[0] - 3, 4))
    return [
        Figure(f"{case.name}: bytes", ours, "bytes", 1.005 * ideal + 8, "at most", f"cross-entropy {ideal:.0f}"),
        Figure(f"{case.name}: difference to constriction", abs(ours / theirs - 1), "share", 0.002),
        Figure(f"{case.name}: 4 channels of 49 positions", few, "bytes", 5.0, "at most", "beyond cross-entropy"),
    ]


def _excess_of_few(case: Case, channel: int) -> float:
    rows = slice(channel, channel + 4)
    tables = Tables(case.tables.cdf[rows], case.tables.size[rows], case.tables.offset[rows])
    symbols = np.ascontiguousarray(case.symbols[rows, :49])
    return len(rans.encode(symbols, tables)) - cross_entropy_bytes(symbols, tables)
