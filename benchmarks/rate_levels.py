"""Eight levels from one set of weights against eight trainings of one level each, on Fashion-MNIST.

`python -m benchmarks.rate_levels [--seeds N]` trains, some minutes for each seed on one free core, and keeps every
finished training; `isthmus bench rate_levels` reads those seeds that are complete.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import fashion
from benchmarks.figure import Figure
from benchmarks.task import Samples, steps_of
from benchmarks.task_symbols import activations_of_counted, activations_of_tests, right_of, symbols_of, tables_of
from isthmus.evaluation.curves import Curve, interval, rate_difference
from partitioner.api import Partition, partition
from partitioner.compressors.bottleneck import Bottleneck, Factorised, Shape
from partitioner.compressors.methods import Gained, Lesson, Method, Moment, Phase
from partitioner.compressors.methods.gained import together
from partitioner.compressors.resumable import Report
from partitioner.compressors.trainer import Plan, Teacher, train_compressor
from protocol import rans

CUT, MATCHED = "blocks.3", "blocks.4"
WEIGHTS: Final = tuple(float(weight) for weight in np.logspace(-1.4, -4.6, 8))
SHAPE: Final = Shape(64, 0, 32, 6, len(WEIGHTS), 0)
SEEDS: Final = (1, 2, 3)
STEPS, BATCH = 2_400, 32
"""Of a training of one level."""
TOGETHER: Final = {"together": STEPS, "together-for-longer": 4 * STEPS}
"""Batches of all levels in one training: as many as one of the eight has, of which a level sees an eighth, and half as
many as the eight have together. See docs/decisions/0241."""
FINEST_GAIN: Final = 4.0
PENALTY, RANGE = 0.10, 8.0


class Wide(Gained):
    """Gains start as far apart as the weights of bits say, for a quantiser's best step grows with their root."""

    def make(self, shape: Shape) -> Bottleneck:
        made = super().make(shape)
        start = FINEST_GAIN * (torch.tensor(WEIGHTS) / WEIGHTS[-1]) ** -0.5
        with torch.no_grad():
            made.log_gain.copy_(start.log()[:, None])
            made.log_inverse_gain.copy_(-start.log()[:, None])
        return made


class Alone(Wide):
    """The same network, start and loss, for one level only."""

    def __init__(self, level: int) -> None:
        self.level = level

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("alone", 1.0, self._loss),)

    def _loss(self, compressor: Bottleneck, lesson: Lesson, moment: Moment) -> tuple[Tensor, str]:
        return together(compressor, lesson, replace(moment, level=self.level))


@dataclass(frozen=True, eq=False)
class Remembering(Teacher):
    """Keeps what the network makes of the first batches, for all trainings of a seed see the same: a gigabyte."""

    lessons: dict[bytes, Lesson] = field(default_factory=dict)

    def lesson(self, inputs: Tensor, labels: Tensor | None) -> Lesson:
        """As for `Teacher`, of the same inputs the very same."""
        name = hashlib.sha256(inputs.numpy()).digest()
        if name in self.lessons:
            return self.lessons[name]
        lesson = Teacher.lesson(self, inputs, labels)
        if len(self.lessons) < STEPS:
            self.lessons[name] = lesson
        return lesson


def figures() -> Sequence[Figure]:
    """Nothing where no seed is complete."""
    return [figure for name in TOGETHER for figure in _of_training(name)]


def _of_training(name: str) -> list[Figure]:
    """One training of all levels against the eight, over the seeds that are complete."""
    found = {seed: (_kept(seed, name), _alone(seed)) for seed in SEEDS if _complete(seed, name)}
    if not found:
        return []
    batches = f"{TOGETHER[name]:,} batches"
    each = []
    for seed, (one, eight) in found.items():
        penalty = rate_difference(eight.bytes, eight.quality, one.bytes, one.quality)
        low, high = interval(eight, one)
        told = f"95 % of draws of pictures {low:+.3f} to {high:+.3f}; {_told(one)}; eight trainings: {_told(eight)}"
        each.append(Figure(f"Bjontegaard penalty, {batches}, seed {seed}", penalty, "share", PENALTY, "at most", told))
    penalties = [figure.value for figure in each]
    spans = [float(one.bytes.max() / one.bytes.min()) for one, _ in found.values()]
    told = f"eight trainings of {STEPS:,} each; seeds {', '.join(map(str, found))}"
    return [
        Figure.of_runs(
            f"Bjontegaard penalty of one training of {batches}", penalties, "share", PENALTY, "at most", told
        ),
        Figure.of_runs(f"{batches}: bytes of its largest level over its smallest", spans, "ratio", RANGE, "at least"),
        *each,
    ]


def train(seeds: Sequence[int], report: Report) -> None:
    """What is not there yet."""
    network, samples = fashion.network(report), fashion.TASK.samples
    taught = partition(network, samples.pictures[:2], cuts=[CUT, MATCHED])
    teacher = Remembering(taught.segments[0], taught.segments[1:], True)
    bench = _Bench(teacher, partition(network, samples.pictures[:2], cuts=[CUT]), samples, report)
    for seed in seeds:
        teacher.lessons.clear()
        for name, steps in TOGETHER.items():
            bench.run(seed, name, Wide(), range(len(WEIGHTS)), steps)
        for level in range(len(WEIGHTS)):
            bench.run(seed, f"alone-{level}", Alone(level), (level,), STEPS)


@dataclass(frozen=True)
class _Bench:
    """What all trainings share."""

    teacher: Teacher
    parts: Partition
    samples: Samples
    report: Report

    @cached_property
    def counted(self) -> list[Tensor]:
        """Activations that tables are counted on."""
        return activations_of_counted(self.parts, fashion.TASK)

    @cached_property
    def tests(self) -> tuple[Tensor, NDArray[np.int64]]:
        """Activations of the test pictures, and their classes."""
        return activations_of_tests(self.parts, fashion.TASK)

    def run(self, seed: int, name: str, method: Method, levels: Sequence[int], steps: int) -> None:
        """Train and measure these levels, unless that was done."""
        file = _file(seed, name)
        if file.is_file():
            return
        compressor = train_compressor(
            method, SHAPE, self.teacher, self.samples, Plan(WEIGHTS, steps_of(steps), BATCH, seed=seed),
            work=file.with_suffix(""), report=lambda told, done: self.report(f"seed {seed} {name}: {told}", done),
            warn=lambda told: None,  # of levels that a training alone leaves as they were
        )  # fmt: skip
        assert isinstance(compressor, Factorised)
        tables = tables_of(compressor, self.counted)
        activations, labels = self.tests
        sizes, right = [], []
        for level in levels:
            symbols = symbols_of(compressor, activations, level, tables[level])
            sizes.append([float(len(rans.encode(item, tables[level]))) for item in symbols])
            right.append(right_of(compressor, self.parts, symbols, level, labels))
        beside = file.with_suffix(".partial.npz")
        np.savez(beside, sizes=np.array(sizes), right=np.stack(right))
        beside.replace(file)


def _file(seed: int, name: str) -> Path:
    return fashion.WORK / "levels" / f"seed-{seed}" / f"{name}.npz"


def _complete(seed: int, name: str) -> bool:
    return all(_file(seed, each).is_file() for each in (name, *(f"alone-{k}" for k in range(len(WEIGHTS)))))


def _kept(seed: int, name: str) -> Curve:
    with np.load(_file(seed, name), allow_pickle=False) as found:
        return Curve(name, tuple(map(str, range(len(found["sizes"])))), found["sizes"], found["right"])


def _alone(seed: int) -> Curve:
    kept = [_kept(seed, f"alone-{level}") for level in range(len(WEIGHTS))]
    sizes: NDArray[np.float64] = np.concatenate([one.sizes for one in kept])
    return Curve("alone", tuple(map(str, range(len(kept)))), sizes, np.concatenate([one.right for one in kept]))


def _told(curve: Curve) -> str:
    return ", ".join(f"{size:.1f} B {quality:.2%}" for size, quality in zip(curve.bytes, curve.quality, strict=True))


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rate_levels", description=__doc__)
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many of the three")
    seeds = SEEDS[: parser.parse_args().seeds]
    if not fashion.at_hand():
        print(f"there is no Fashion-MNIST in {fashion.DATA}; set ISTHMUS_DATA", file=sys.stderr)
        return 2
    torch.set_flush_denormal(True)
    said = [""]

    def report(told: str, done: float) -> None:
        stage = told.partition(":")[0]
        if stage != said[0] or done >= 1:
            print(told, f"{done:.0%}", flush=True)
            said[0] = stage

    train(seeds, report)
    return 0


if __name__ == "__main__":
    sys.exit(_main())
