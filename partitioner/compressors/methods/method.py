"""The seam between a method and the trainer: a method makes a compressor and names the phases of its training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from partitioner.compressors.bottleneck import Bottleneck, Shape
from partitioner.compressors.losses import divergence


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """One batch as the frozen network sees it.

    Attributes:
        activations: at the cut, at the later places that are matched, and the answer: float32, batch first.
        later: the frozen segments between them, one fewer.
        labels: int64 [batch], or None: no method needs them.
        classifies: whether the answer is logits.
        inputs: of the whole network.
    """

    activations: Sequence[Tensor]
    later: Sequence[nn.Module]
    labels: Tensor | None
    classifies: bool
    inputs: Tensor

    @property
    def activation(self) -> Tensor:
        """What the compressor is given."""
        return self.activations[0]

    def passed(self, restored: Tensor) -> list[Tensor]:
        """What the frozen network makes of a restored activation: as long as `activations`, the answer last."""
        seen = [restored]
        for segment in self.later:
            seen.append(segment(seen[-1]))
        return seen

    def disagreement(self, answer: Tensor, temperature: float = 1.5) -> Tensor:
        """How far an answer is from the network's own: nats, or squares in units of the variance; [batch]."""
        own = self.activations[-1].float()
        if self.classifies:
            return divergence(answer.float(), own, temperature)
        return ((answer.float() - own) ** 2).flatten(1).mean(1) / own.var().clamp_min(1e-6)


@dataclass(frozen=True, slots=True)
class Moment:
    """Where the training stands.

    Attributes:
        level: whose turn it is.
        done: share of the phase that is over, 0 to 1.
        bit_weights: per level, the loss of one bit beside one nat of disagreement.
    """

    level: int
    done: float
    bit_weights: Sequence[float]

    @property
    def bit_weight(self) -> float:
        return self.bit_weights[self.level]


Loss = Callable[[Bottleneck, Lesson, Moment], tuple[Tensor, str]]
"""The loss of one batch, and a few words about it."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of a method's training.

    Attributes:
        share: of the recipe's steps.
        loss: of one batch.
        frozen: names of modules and parameters of the compressor that keep still.
        learning_rate: as a share of the recipe's.
    """

    name: str
    share: float
    loss: Loss
    frozen: tuple[str, ...] = ()
    learning_rate: float = 1.0


class Method(Protocol):
    """One way to learn a bottleneck."""

    @property
    def name(self) -> str:
        """As recipes and checkpoints name it."""
        ...

    def make(self, shape: Shape) -> Bottleneck:
        """A compressor with random weights."""
        ...

    def phases(self) -> tuple[Phase, ...]:
        """In order; their shares add up to 1."""
        ...
