"""Training of the built-in network: first the network, then its exit. Deterministic from a seed on one machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from isthmus.builtin.network import DigitsNet

Report = Callable[[str, float], None]
"""Called with a short text and the share done, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """A split in memory: `pictures` uint8 [n, 128, 128, 3], `labels` int64 [n]."""

    pictures: NDArray[np.uint8]
    labels: NDArray[np.int64]


def augment(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Vary colours: uint8 [n, h, w, 3] in and out."""
    count, height, width, _ = pictures.shape
    order = torch.rand(count, 3, generator=generator).argsort(dim=1)
    x = pictures.gather(3, order[:, None, None, :].expand(-1, height, width, -1)).float()
    contrast = 0.7 + 0.6 * torch.rand(count, 1, 1, 1, generator=generator)
    shift = 40 * (torch.rand(count, 1, 1, 3, generator=generator) - 0.5)
    sign = torch.where(torch.rand(count, 1, 1, 1, generator=generator) < 0.5, 1.0, -1.0)
    x = ((x - 127.5) * contrast * sign + 127.5 + shift).clamp_(0, 255)
    return x.to(torch.uint8)


def mixed(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Lay half of the pictures over others of the batch, at random shares: uint8 [n, h, w, 3] in and out.

    For distillation only, which needs no labels: a teacher that is asked about pictures between the classes says more
    about itself (Beyer et al., "Knowledge distillation: A good teacher is patient and consistent", CVPR 2022).
    """
    count = len(pictures)
    share = torch.rand(count, 1, 1, 1, generator=generator)
    share[: count // 2] = 1.0
    others = pictures[torch.randperm(count, generator=generator)]
    return (share * pictures + (1.0 - share) * others).to(torch.uint8)


def batches(data: Pictures, size: int, steps: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Augmented batches, reshuffled at every pass."""
    pictures, labels = torch.from_numpy(data.pictures), torch.from_numpy(data.labels)
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        if len(order) < size:
            order = torch.randperm(len(labels), generator=generator)
        chosen, order = order[:size], order[size:]
        yield augment(pictures[chosen], generator), labels[chosen]


def accuracy(model: Callable[[Tensor], Tensor], data: Pictures) -> float:
    """Top-1 share of right answers, 0 to 1."""
    right = 0
    with torch.inference_mode():
        for start in range(0, len(data.labels), 250):
            logits = model(torch.from_numpy(data.pictures[start : start + 250]))
            right += int((logits.argmax(1).numpy() == data.labels[start : start + 250]).sum())
    return right / len(data.labels)


def train_network(data: Pictures, *, seed: int, steps: int, report: Report, batch: int = 64) -> DigitsNet:
    """Train from scratch with cross-entropy, AdamW and one cosine cycle; returns the network in eval mode."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = DigitsNet().train()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=2e-3, total_steps=steps, pct_start=0.15)
    running = 0.0
    for step, (pictures, labels) in enumerate(batches(data, batch, steps, generator)):
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(network(pictures), labels, label_smoothing=0.05)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimiser.step()
        schedule.step()
        running = 0.95 * running + 0.05 * float(loss.detach())
        if step % 10 == 0:
            report(f"network: loss {running:.3f}", step / steps)
    network.eval()
    return network


class ExitHead(nn.Module):
    """A small classifier on the activation at a cut: float32 [batch, channels, h, w] to logits [batch, 10]."""

    def __init__(self, channels: int, width: int = 160) -> None:
        super().__init__()
        self.steps = nn.Sequential(
            _separable(channels, width, 2), *(_separable(width, width, 1) for _ in range(3)), nn.Dropout(0.1)
        )
        self.classify = nn.Linear(width, 10)

    def forward(self, activation: Tensor) -> Tensor:
        logits: Tensor = self.classify(self.steps(activation).mean((2, 3)))
        return logits


def _separable(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 5, stride, 2, groups=inputs, bias=False),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def train_exit(
    head: Callable[[Tensor], Tensor],
    tail: Callable[[Tensor], Tensor],
    channels: int,
    data: Pictures,
    *,
    seed: int,
    steps: int,
    report: Report,
    batch: int = 64,
) -> ExitHead:
    """Train an exit behind a frozen head: right labels, and the answers of the tail as a teacher."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    exit_ = ExitHead(channels).train()
    optimiser = torch.optim.AdamW(exit_.parameters(), lr=3e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=3e-3, total_steps=steps, pct_start=0.1)
    for step, (pictures, labels) in enumerate(batches(data, batch, steps, generator)):
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                activation = head(pictures)
                teacher = tail(activation).float()
            logits = exit_(activation).float()
        distance = F.kl_div(
            F.log_softmax(logits / 2, 1), F.log_softmax(teacher / 2, 1), reduction="batchmean", log_target=True
        )
        loss = 0.5 * F.cross_entropy(logits, labels) + 2.0 * distance
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if step % 10 == 0:
            report(f"exit: loss {float(loss.detach()):.3f}", step / steps)
    return exit_.eval()
