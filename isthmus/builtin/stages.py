"""What is trained for the built-in bundle: the network, its exit and one bottleneck per cut, each kept in a file.

A stage is named after what it trains ("network", "exit", or the module in front of a cut), finds what it builds on in
the work folder, and ends by writing NAME.safetensors there, whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from isthmus.builtin.network import DigitsNet
from isthmus.builtin.training import ExitHead, Pictures, Report, batches, mixed, train_exit, train_network
from partitioner.api import Partition, partition
from partitioner.compressors.bottleneck import Factorised, Shape
from partitioner.compressors.distillation import Recipe, train_bottlenecks

NETWORK, EXIT = "network", "exit"
EXIT_AFTER = "blocks.2"
NETWORK_STEPS, EXIT_STEPS = 3_600, 2_400


@dataclass(frozen=True, slots=True)
class Cycle:
    """One rise and fall of the learning rate; the fields as in `Recipe`."""

    bit_weights: tuple[float, ...]
    steps: int
    free_share: float = 0.05
    ramp_share: float = 0.35
    learning_rate: float = 3e-3


@dataclass(frozen=True, slots=True)
class Codec:
    """The learned codec of one cut: its sizes, and how it is trained.

    An early cut needs more bits for the same answer, and longer until it can say anything.
    """

    shape: Shape
    cycles: tuple[Cycle, ...]


CODECS = {
    "blocks.0": Codec(Shape(40, 2, 32, 16, 4), (Cycle((6e-4, 2.4e-4, 9e-5, 3e-5), 3_000, 0.45, 0.3),)),
    "blocks.1": Codec(Shape(64, 1, 48, 16, 4), (Cycle((2e-3, 8e-4, 3e-4, 1e-4), 4_400),)),
    "blocks.2": Codec(
        Shape(64, 1, 64, 16, 4),
        (
            Cycle((2e-3, 8e-4, 3e-4, 1e-4), 4_400),
            Cycle((1.6e-3, 6e-4, 3e-4, 2e-4), 5_000, 0.0, 0.02, learning_rate=2e-3),
        ),
    ),
    "blocks.3": Codec(Shape(112, 0, 64, 12, 4), (Cycle((2e-3, 8e-4, 3e-4, 1e-4), 2_400, 0.05, 0.3),)),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """Where stages keep their work, and how they train."""

    work: Path
    seed: int
    scale: float

    def steps(self, full: int) -> int:
        return max(20, round(full * self.scale))

    def path(self, stage: str) -> Path:
        return self.work / f"{stage}.safetensors"

    def pictures(self, name: str) -> Pictures:
        """A set that `keep_pictures` wrote; pages are read when they are used."""
        return Pictures(
            np.load(self.work / f"{name}.pictures.npy", mmap_mode="c"), np.load(self.work / f"{name}.labels.npy")
        )

    def keep_pictures(self, name: str, make: Callable[[], Pictures]) -> None:
        """Draw a set unless it is there."""
        if not (self.work / f"{name}.labels.npy").exists():
            data = make()
            np.save(self.work / f"{name}.pictures.npy", data.pictures)
            np.save(self.work / f"{name}.labels.npy", data.labels)


def network_of(plan: Plan) -> DigitsNet:
    return _filled(DigitsNet(), plan, NETWORK)


def exit_of(plan: Plan) -> ExitHead:
    return _filled(ExitHead(CODECS[EXIT_AFTER].shape.channels), plan, EXIT)


def bottleneck_of(plan: Plan, cut: str) -> Factorised:
    return _filled(Factorised(CODECS[cut].shape), plan, cut)


def partition_of(plan: Plan) -> Partition:
    return partition(network_of(plan), torch.zeros(2, 128, 128, 3, dtype=torch.uint8), cuts=list(CODECS))


def run_stage(stage: str, plan: Plan, report: Report) -> None:
    """Train a stage and keep its weights; nothing to do when they are there."""
    if plan.path(stage).exists():
        return
    torch.set_flush_denormal(True)  # dead channels decay into denormal numbers, which slow training down tenfold
    torch.manual_seed(plan.seed)
    if stage == NETWORK:
        trained: nn.Module = train_network(
            plan.pictures("train"), seed=plan.seed, steps=plan.steps(NETWORK_STEPS), report=report
        )
    elif stage == EXIT:
        trained = _train_exit(plan, report)
    else:
        trained = _train_bottleneck(plan, stage, report)
    beside = plan.path(stage).with_suffix(".partial")
    save_file({key: value.contiguous() for key, value in trained.state_dict().items()}, beside)
    beside.replace(plan.path(stage))


M = TypeVar("M", bound=nn.Module)


def _filled(module: M, plan: Plan, stage: str) -> M:
    module.load_state_dict(load_file(plan.path(stage)))
    return module.eval()


def _train_exit(plan: Plan, report: Report) -> ExitHead:
    parts = partition_of(plan)
    at = parts.index_of(EXIT_AFTER)
    return train_exit(
        partial(parts.run, last=at),
        partial(parts.run, first=at),
        CODECS[EXIT_AFTER].shape.channels,
        plan.pictures("train"),
        seed=plan.seed,
        steps=plan.steps(EXIT_STEPS),
        report=report,
    )


def _train_bottleneck(plan: Plan, cut: str, report: Report) -> Factorised:
    """Distil on pictures of digits and of shapes between digits: no label is asked for."""
    parts = partition_of(plan)
    codec, index = CODECS[cut], parts.index_of(cut)
    bottleneck = Factorised(codec.shape)
    for number, cycle in enumerate(codec.cycles):
        seed, steps = plan.seed + number, plan.steps(cycle.steps)
        if number:
            torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        train_bottlenecks(
            parts.segments,
            {index: bottleneck},
            (mixed(pictures, generator) for pictures, _ in batches(plan.pictures("unlabelled"), 32, steps, generator)),
            Recipe(
                {index: cycle.bit_weights},
                steps,
                learning_rate=cycle.learning_rate,
                free_share=cycle.free_share,
                ramp_share=cycle.ramp_share,
            ),
            report=lambda text, done: report(f"{cut}: {text}", done),
        )
    return bottleneck
