"""Runs the phases of a method behind a frozen network; resumable, and reproducible from a seed on one machine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from partitioner.compressors.bottleneck import Bottleneck, Shape
from partitioner.compressors.collapse import surviving_share, warning_of
from partitioner.compressors.folding import folded
from partitioner.compressors.methods import Lesson, Method, Moment, Phase
from partitioner.compressors.resumable import Report, Schedule, fit, seed_of

_LOOKS = 20
"""How often in a phase collapse is looked for."""
_PRIOR_RATE = 1e-2
"""Learning rate of the priors, which see little of the loss."""


class Samples(Protocol):
    """Where inputs come from."""

    def __len__(self) -> int: ...

    def take(self, chosen: NDArray[np.int64]) -> tuple[Tensor, Tensor | None]:
        """Inputs [items, ...] of the model, and int64 classes or None; may vary them with torch's random numbers."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how hard to train.

    Attributes:
        bit_weights: per level, the loss of one bit beside one nat; smallest payload first, so falling.
        steps: in all phases together.
        batch: samples of a step.
        learning_rate: at its highest.
        seed: of weights, order and noise.
    """

    bit_weights: tuple[float, ...]
    steps: int
    batch: int = 64
    learning_rate: float = 3e-3
    seed: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Teacher:
    """The frozen network on the device that trains.

    Attributes:
        head: input to the activation at the cut.
        later: segments behind it; where they meet, activations are matched.
        classifies: whether the last one gives logits.
    """

    head: nn.Module
    later: Sequence[nn.Module]
    classifies: bool
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def lesson(self, inputs: Tensor, labels: Tensor | None) -> Lesson:
        """What the network makes of a batch."""
        with torch.no_grad():
            inputs = inputs.to(self.device)
            activations = [self.head(inputs)]
            for segment in self.later:
                activations.append(segment(activations[-1]))
        labels = None if labels is None else labels.to(self.device)
        return Lesson(activations, self.later, labels, self.classifies, inputs)


def choose_device(name: str) -> torch.device:
    """`auto` is the first GPU where there is one, else the CPU; anything else is torch's own name."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def train_compressor(
    method: Method,
    shape: Shape,
    teacher: Teacher,
    samples: Samples,
    plan: Plan,
    *,
    work: Path,
    report: Report,
    warn: Callable[[str], None],
    about: str = "",
) -> Bottleneck:
    """Train a compressor, or go on where a killed run stopped.

    Args:
        work: folder of the checkpoints, one file for each phase.
        report: called at every step with a text and the share done.
        warn: called once with a sentence when the bottleneck collapses.
        about: network, cut and samples in words: a checkpoint that was made with other words is refused.

    Returns:
        On the CPU, in evaluation mode, nothing frozen.

    Raises:
        TrainingFailed: see `partitioner.compressors.resumable`.
    """
    for segment in (teacher.head, *teacher.later):
        segment.eval().requires_grad_(False)
    teacher = replace(teacher, head=folded(teacher.head), later=[folded(segment) for segment in teacher.later])
    with torch.random.fork_rng():
        torch.manual_seed(plan.seed)
        compressor = method.make(shape)
    compressor.to(teacher.device)
    learnt = frozenset(name for name, parameter in compressor.named_parameters() if parameter.requires_grad)
    before = 0.0
    with _no_denormals():
        for number, phase in enumerate(method.phases()):
            run = _Run(compressor, phase, teacher, samples, plan, number, learnt, warn)
            told = partial(_report_phase, report, phase, before)
            tag = f"{method.name} {astuple(shape)} {astuple(plan)} {about}"
            run.train(work / f"{number}_{phase.name}.safetensors", tag, told)
            before += phase.share
    return compressor.requires_grad_(False).cpu().eval()


def _report_phase(report: Report, phase: Phase, before: float, told: str, done: float) -> None:
    report(f"{phase.name}: {told}", before + phase.share * done)


class _Run:
    """One phase."""

    def __init__(
        self,
        compressor: Bottleneck,
        phase: Phase,
        teacher: Teacher,
        samples: Samples,
        plan: Plan,
        number: int,
        learnt: frozenset[str],
        warn: Callable[[str], None],
    ) -> None:
        """`number`: of the phase; `learnt`: names of the parameters that the method does not fix for good."""
        self.compressor, self.phase, self.teacher = compressor, phase, teacher
        self.samples, self.plan, self.learnt, self.warn = samples, plan, learnt, warn
        self.steps = max(round(plan.steps * phase.share), 1)
        self.seed = seed_of(plan.seed, 1_000_000 + number)
        self.warned = False

    def train(self, file: Path, tag: str, report: Report) -> None:
        self._freeze()
        fit(
            self.compressor,
            self.loss_at,
            Schedule(
                self.steps,
                self.plan.learning_rate * self.phase.learning_rate,
                self.seed,
                tag=hashlib.sha256(tag.encode()).hexdigest()[:16],
            ),
            file=file,
            report=report,
            faster=[(self.compressor.priors, _PRIOR_RATE)],
        )

    def _freeze(self) -> None:
        """Frozen parts neither learn nor gather statistics."""
        self.compressor.train()
        for name, parameter in self.compressor.named_parameters():
            parameter.requires_grad_(name in self.learnt and not any(_inside(name, part) for part in self.phase.frozen))
        for name, module in self.compressor.named_modules():
            if any(_inside(name, part) for part in self.phase.frozen):
                module.eval()

    def loss_at(self, step: int) -> tuple[Tensor, str]:
        inputs, labels = self.samples.take(batch_at(step, len(self.samples), self.plan.batch, self.seed))
        moment = Moment(step % self.compressor.shape.levels, step / self.steps, self.plan.bit_weights)
        with torch.autocast(self.teacher.device.type, torch.bfloat16):
            lesson = self.teacher.lesson(inputs, labels)
            loss, told = self.phase.loss(self.compressor, lesson, moment)
            if step > self.steps // 5 and step % max(self.steps // _LOOKS, 1) == 0 and not self.warned:
                self._look(lesson, step)
        return loss.float(), told

    def _look(self, lesson: Lesson, step: int) -> None:
        with torch.no_grad():
            restored, _ = self.compressor(lesson.activation, self.compressor.shape.levels - 1)
        told = warning_of(surviving_share(restored, lesson.activation), step, self.steps)
        if told is not None:
            self.warned = True
            self.warn(told)


def batch_at(step: int, count: int, size: int, seed: int) -> NDArray[np.int64]:
    """Which items a step sees: every pass over them in another order; a function of the step alone."""
    size = min(size, count)
    per_pass = count // size
    order = np.random.default_rng(seed_of(seed, step // per_pass)).permutation(count)
    at = step % per_pass * size
    return order[at : at + size]


def _inside(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")


@contextmanager
def _no_denormals() -> Iterator[None]:
    """Dead channels decay into denormal numbers, which slow training down tenfold."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
