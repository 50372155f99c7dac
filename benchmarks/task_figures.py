"""Figures that every task's table has: bytes at equal answers, a headline, and what is still to be trained."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import nn

from benchmarks import task_codecs, task_pictures
from benchmarks.figure import Figure
from benchmarks.task import Task
from isthmus.evaluation import baselines
from isthmus.evaluation.curves import Curve, bytes_at
from isthmus.evaluation.rivals import BARE
from partitioner.compressors.resumable import Report

BOTTLEFIT_SAVING, BOTTLEFIT_LOSS = 0.771, 0.006
Stage = Callable[[nn.Module, Report], object]
"""Trains and measures one line of a table behind the network; what is there already, it reads."""


@dataclass(frozen=True)
class Stages:
    """What of a task is trained and measured one after the other."""

    task: Task
    codecs: Sequence[task_codecs.Codec]
    qualities: Sequence[task_pictures.Quality]

    def finished(self) -> Stages:
        """Those whose figures are there."""
        codecs = [codec for codec in self.codecs if codec.kept(self.task).is_file()]
        qualities = [quality for quality in self.qualities if task_pictures.kept(self.task, quality).is_file()]
        return Stages(self.task, codecs, qualities)

    def found(self, network: nn.Module, report: Report) -> tuple[list[task_codecs.Found], list[Curve]]:
        """Figures of codecs and of picture files; what is not there yet is trained."""
        ours = [task_codecs.measure(self.task, codec, network, report) for codec in self.codecs]
        return ours, task_pictures.curves(self.task, self.qualities, network, report)

    def each(self) -> dict[str, Stage]:
        """What trains and measures each of them, by its name."""
        made: dict[str, Stage] = {codec.name: partial(task_codecs.measure, self.task, codec) for codec in self.codecs}
        for quality in self.qualities:
            made["{} {}".format(*quality)] = partial(task_pictures.measure, self.task, quality)
        return made


def missing(names: Sequence[str], command: str) -> list[Figure]:
    """One row that names what is still to be done, if anything."""
    told = f"run `{command}` for {', '.join(names)}"
    return [Figure("stages that are missing", len(names), "stages", 0, "at most", told)] if names else []


def against_pictures(
    found: Sequence[task_codecs.Found], pictures: Sequence[Curve], qualities: Sequence[float]
) -> list[Figure]:
    """Ratios of bytes at equal accuracy, ours with at most half of the network on the device."""
    made = []
    for quality in qualities:
        light = [(at(one.curve, quality), one) for one in found if one.device_share <= 0.5]
        ours, best = min(light, key=lambda pair: pair[0], default=(math.inf, None))
        if best is None:
            continue
        for ending, target in ((task_pictures.TUNED, 1 / 8), (task_pictures.TUNED + BARE, 1 / 6)):
            rivals = [(at(curve, quality), curve.name) for curve in pictures if curve.name.endswith(ending)]
            theirs, rival = min(rivals, default=(math.inf, ""))
            if math.isfinite(theirs):
                told = f"{rival}: {theirs:.1f} B; {best.curve.name}: {ours:.1f} B"
                name = f"bytes at {quality:.1%}, {ending}"
                made.append(Figure(name, ours / theirs, "ratio", target, "at most", told))
        if math.isfinite(ours):
            made.append(Figure(f"device share of MACs at {quality:.1%}", best.device_share, "share", 0.5))
    return made


def bottlefit(task: Task, found: Sequence[task_codecs.Found], whole: float) -> list[Figure]:
    """Its headline on other data: 77.1 % fewer bytes than JPEG of quality 95, at a loss of 0.6 points."""
    pictures, _ = task.tests
    files = baselines.picture_files(task.planes(pictures[:1000]), "jpeg", 95)
    jpeg = sum(map(len, files)) / len(files)
    light = [one for one in found if one.device_share <= 0.25]
    if not light:
        return []
    kept = [
        (float(size), one)
        for one in light
        for size, quality in zip(one.curve.bytes, one.curve.quality, strict=True)
        if quality >= whole - BOTTLEFIT_LOSS
    ]
    if not kept:
        best = max(light, key=lambda one: one.curve.quality.max())
        told = f"{best.curve.name}: {_told(best.curve)}; JPEG of quality 95: {jpeg:.0f} B"
        lost = 100 * (whole - float(best.curve.quality.max()))
        return [Figure("points lost with a quarter of the MACs on the device", lost, "points", 0.6, "at most", told)]
    size, one = min(kept, key=lambda pair: pair[0])
    told = f"JPEG of quality 95, {jpeg:.0f} B; {one.curve.name}, {one.device_share:.0%} of the MACs, {size:.1f} B"
    return [Figure("bytes saved at a loss of 0.6 points", 1 - size / jpeg, "share", BOTTLEFIT_SAVING, "at least", told)]


def at(curve: Curve, quality: float) -> float:
    """Bytes at which a curve reaches a quality."""
    return bytes_at(curve.bytes, curve.quality, quality)


def row(curve: Curve, quality: float) -> Figure:
    """All levels of a curve."""
    return Figure(f"{curve.name}: bytes at {quality:.0%}", at(curve, quality), "bytes", against=_told(curve))


def _told(curve: Curve) -> str:
    return ", ".join(f"{size:.1f} B {quality:.2%}" for size, quality in zip(curve.bytes, curve.quality, strict=True))


def silent(told: str, done: float) -> None:
    """No progress."""


def run(task: Task, stages: Mapping[str, Stage], at_hand: bool, what: str) -> int:
    """Train the stages that the command line names, or all, with a bar for each; the exit code."""
    parser = argparse.ArgumentParser(description=f"Train what is not there yet, behind the network of {what}.")
    parser.add_argument("stage", nargs="*", help=f"without: all, in this order: {', '.join(stages)}")
    chosen = parser.parse_args().stage or [*stages]
    if unknown := sorted({*chosen} - {*stages}):
        parser.error(f"there is no stage {', '.join(unknown)}; there are {', '.join(stages)}")
    if not at_hand:
        print(f"there is no {what}; set ISTHMUS_DATA", file=sys.stderr)
        return 2
    torch.set_flush_denormal(True)
    with Progress(BarColumn(), TimeRemainingColumn(), TextColumn("{task.description}")) as progress:
        bars: dict[str, TaskID] = {}

        def report(told: str, done: float) -> None:
            stage = told.partition(":")[0]
            if stage not in bars:
                bars[stage] = progress.add_task("", total=1.0)
            progress.update(bars[stage], completed=done, description=told)

        network = task.train(report)
        for name in chosen:
            stages[name](network, report)
    return 0
