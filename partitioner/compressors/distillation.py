"""Training of bottlenecks behind a frozen network: answers and activations of the whole network are the teacher."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from partitioner.compressors.bottleneck import Bottleneck
from partitioner.compressors.losses import distance, divergence, price

Report = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train the bottlenecks of one network.

    `bit_weights[cut][level]` is the loss of one bit beside the teacher's divergence in nats: the larger, the fewer
    bits. Bits are cheap in the first part of training and features count more: a bottleneck that must save bits
    before it can say anything learns to say nothing.
    """

    bit_weights: Mapping[int, tuple[float, ...]]
    steps: int
    learning_rate: float = 3e-3
    feature_weight: float = 0.5
    temperature: float = 1.5
    free_share: float = 0.05
    ramp_share: float = 0.3

    def price(self, step: int) -> float:
        """Share of the bit weights that holds at a step, 0.02 to 1."""
        return price(step / self.steps, self.free_share, self.ramp_share)


def train_bottlenecks(
    segments: Sequence[nn.Module],
    bottlenecks: Mapping[int, Bottleneck],
    batches: Iterable[Tensor],
    recipe: Recipe,
    *,
    report: Report,
) -> None:
    """Train one bottleneck per cut, in place.

    Args:
        segments: the frozen network in order; cut k lies in front of segment k.
        bottlenecks: by cut index, at least 1.
        batches: inputs of the network, at least `recipe.steps` batches.
        recipe: weights and lengths.
        report: called with a text and the share done.
    """
    for segment in segments:
        segment.eval().requires_grad_(False)
    trained = nn.ModuleList(bottlenecks.values()).train()
    priors = [prior for b in bottlenecks.values() for prior in b.priors]
    prior_parameters = {id(p) for prior in priors for p in prior.parameters()}
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained.parameters() if id(p) not in prior_parameters]},
        {"params": [p for prior in priors for p in prior.parameters()], "lr": 1e-2, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=recipe.learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=[recipe.learning_rate, 1e-2], total_steps=recipe.steps, pct_start=0.1
    )
    first_cut = min(bottlenecks)
    for step, inputs in zip(range(recipe.steps), batches, strict=False):
        with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
            activations = [inputs]
            for segment in segments:
                activations.append(segment(activations[-1]))
        teacher = activations[-1].float()
        optimiser.zero_grad()
        figures = []
        for cut, bottleneck in bottlenecks.items():
            level = (step + cut - first_cut) % bottleneck.shape.levels
            with torch.autocast("cpu", torch.bfloat16):
                restored, bits = bottleneck(activations[cut], level)
                passed = [restored]
                for segment in segments[cut:]:
                    passed.append(segment(passed[-1]))
            answer = divergence(passed[-1].float(), teacher, recipe.temperature)
            feature = distance(passed[:-1], activations[cut:-1])
            weights = recipe.bit_weights[cut]
            bit_price = recipe.price(step)
            feature_weight = max(recipe.feature_weight * (weights[-1] / weights[level]) ** 0.5, 1.0 - bit_price)
            loss = (answer + bit_price * weights[level] * bits).mean() + feature_weight * feature
            loss.backward()
            told = float(answer.detach().mean()), float(bits.detach().mean()) / 8
            figures.append(f"cut {cut}.{level}: {told[0]:.3f} nat, {told[1]:.0f} B")
        nn.utils.clip_grad_norm_(trained.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        if step % 10 == 0:
            report("; ".join(figures), step / recipe.steps)
    trained.eval()
