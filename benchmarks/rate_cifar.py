"""CIFAR-10 as given: trained compressors of ResNet-20 against tuned picture files and few bits under zstd.

`python -m benchmarks.rate_cifar` trains, for hours on one free core or minutes on a GPU, and keeps every finished
stage; `isthmus bench rate_cifar` reads those that are there and names the others.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import nn

from benchmarks import cifar
from benchmarks.figure import Figure
from benchmarks.task import accuracy, steps_of
from benchmarks.task_codecs import Codec, Found, head, tail
from benchmarks.task_figures import Stage, Stages, bottlefit, missing, row, run, silent
from benchmarks.task_pictures import TUNED
from isthmus.evaluation import baselines
from isthmus.evaluation.curves import Curve, bytes_at, interval, rate_difference
from isthmus.evaluation.errors import NoOverlap
from partitioner.api import partition
from partitioner.compressors.bottleneck import Shape
from partitioner.compressors.resumable import Report
from partitioner.compressors.trainer import Plan

CUT: Final = "layer2.0"
"""Behind 45 % of the multiply-accumulates; "layer1.0" is behind 13 %."""
_WEIGHTS = (8e-3, 3e-3, 1.2e-3, 5e-4, 2e-4, 8e-5)
_LATER = ("layer2.2", "layer3.0")
_FINE = Shape(16, 0, 32, 6, 1, 0, 3)
"""The cut's whole plane, as for Fashion-MNIST (decision 161), behind an encoder of three convolutions."""
STAGES: Final = Stages(
    cifar.TASK,
    (
        Codec(CUT, "gained", Shape(32, 1, 32, 16, len(_WEIGHTS), 0, 3), Plan(_WEIGHTS, steps_of(16_000)), _LATER),
        Codec("layer1.0", "gained", _FINE, Plan((1e-4,), steps_of(6_000)), ("layer2.0", *_LATER), "fine "),
    ),
    (
        *(("webp", quality) for quality in (0, 10, 30, 60, 85)),
        *(("jpeg", quality) for quality in (5, 20, 50, 80)),
        *(("avif", quality) for quality in (5, 25, 50)),
    ),
)  # fmt: skip
FEW_BITS: Final = 1_000
"""Test pictures whose tensors are written in few bits: zstd-19 takes a millisecond for each."""


def figures() -> Sequence[Figure]:
    """Of the stages that are finished, and the names of those that are not; nothing before the first of them."""
    finished = STAGES.finished()
    if not (cifar.at_hand() and finished.each()):
        return []
    network = cifar.TASK.train(silent)
    whole = accuracy(network, *cifar.TASK.tests)
    found, pictures = finished.found(network, silent)
    few = [_few_bits(network, silent)] if _kept().is_file() else []
    there = {*finished.each(), *(["few bits"] if few else ())}
    return [
        Figure("whole network, top-1", whole, "share", 0.87, "at least", "10,000 test pictures"),
        *missing([name for name in EACH if name not in there], "python -m benchmarks.rate_cifar"),
        *_rates(found, pictures, few),
        *_near(found, whole),
        *bottlefit(cifar.TASK, found, whole),
        *(row(curve, 0.85) for curve in (*(one.curve for one in found), *pictures, *few)),
    ]


def _rates(found: Sequence[Found], pictures: Sequence[Curve], few: Sequence[Curve]) -> list[Figure]:
    """Bjontegaard rates of the lightest codec with at most half of the network on the device."""
    ours = next((one.curve for one in found if one.device_share <= 0.5 and len(one.curve.levels) > 2), None)
    if ours is None:
        return []
    tuned = [curve for curve in pictures if curve.name.endswith(TUNED)]
    made = [figure for rival in tuned for figure in _rate(ours, rival, -0.5)]
    worst = max(made, key=lambda figure: figure.value, default=None)
    best = [Figure(f"{worst.name} (the best of them)", worst.value, "share", -0.5)] if worst else []
    return [*best, *made, *(figure for rival in few for figure in _rate(_first(ours, FEW_BITS), rival, -0.8))]


def _rate(ours: Curve, rival: Curve, target: float) -> list[Figure]:
    """Nothing where the two have no accuracy in common."""
    try:
        rate = rate_difference(rival.bytes, rival.quality, ours.bytes, ours.quality)
        low, high = interval(rival, ours, draws=200)
    except NoOverlap:
        return []
    told = f"95 % of draws of pictures {low:+.3f} to {high:+.3f}"
    return [Figure(f"Bjontegaard rate against {rival.name}", rate, "share", target, "at most", told)]


def _first(curve: Curve, count: int) -> Curve:
    return Curve(curve.name, curve.levels, curve.sizes[:, :count], curve.right[:, :count])


def _near(found: Sequence[Found], whole: float) -> list[Figure]:
    """Bytes within a point of the whole network."""
    light = [one for one in found if one.device_share <= 0.5]
    sizes = [(bytes_at(one.curve.bytes, one.curve.quality, whole - 0.01), one.curve.name) for one in light]
    size, name = min(sizes, default=(float("inf"), "nothing trained"))
    return [Figure("bytes within a point of the whole network", size, "bytes", 150, "at most", name)]


def _kept() -> Path:
    return cifar.TASK.work / "few-bits.npz"


def _few_bits(network: nn.Module, report: Report) -> Curve:
    """The tensor at the cut in 2 to 8 bits under zstd-19; kept in the work folder."""
    levels = tuple(f"{bits} bits" for bits in baselines.BITS)
    if not _kept().is_file():
        pictures, labels = (array[:FEW_BITS] for array in cifar.TASK.tests)
        parts = partition(network, torch.from_numpy(pictures[:2]), cuts=[CUT])
        activations = head(parts, torch.from_numpy(pictures)).numpy()
        sizes, right = [], []
        for place, bits in enumerate(baselines.BITS):
            made = [baselines.quantised(item, bits) for item in activations]
            sizes.append([float(len(payload)) for payload, _ in made])
            right.append(tail(parts, np.stack([restored for _, restored in made])) == labels)
            report(f"few bits: {bits}", (place + 1) / len(baselines.BITS))
        beside = _kept().with_suffix(".partial.npz")
        np.savez(beside, sizes=np.array(sizes), right=np.stack(right))
        beside.replace(_kept())
    with np.load(_kept(), allow_pickle=False) as found:
        return Curve(f"k bits + zstd behind {CUT}", levels, found["sizes"], found["right"])


EACH: Final[dict[str, Stage]] = {**STAGES.each(), "few bits": _few_bits}

if __name__ == "__main__":
    sys.exit(run(cifar.TASK, EACH, cifar.at_hand(), f"CIFAR-10 in {cifar.DATA}"))
