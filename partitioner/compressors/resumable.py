"""A training loop that can be killed at any moment and goes on as if nothing had happened.

Every step draws its own random numbers from the seed and the step's number, and its batch is a function of the step,
so weights, the optimiser's moments and the number of the step are all there is to keep. On one machine, with one number
of threads, an interrupted run ends in the same weights as one that was left alone.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from partitioner.compressors.errors import TrainingFailed

Report = Callable[[str, float], None]
"""Called with a short text and the share done, 0 to 1."""
LossAt = Callable[[int], tuple[Tensor, str]]
"""The loss of a step, and a few words about it; its batch must depend on nothing but the step's number."""
_STEP, _TAG = "step", "tag"


@dataclass(frozen=True, slots=True)
class Schedule:
    """Lengths and rates of AdamW under one cycle: a linear rise, then half a cosine down to zero.

    Attributes:
        steps: updates in all.
        learning_rate: at the top of the cycle.
        rise: share of the steps until then.
        clip: largest norm of the gradient; larger ones are scaled down.
        keep_every: steps between two checkpoints.
        tag: what the file must have been made with; another tag is refused.
    """

    steps: int
    learning_rate: float
    seed: int
    weight_decay: float = 1e-4
    rise: float = 0.1
    clip: float = 5.0
    keep_every: int = 50
    tag: str = ""

    def factor(self, step: int) -> float:
        """Share of the learning rate at a step, above 0 to 1."""
        top = max(self.rise * self.steps, 1.0)
        if step < top:
            return (step + 1) / (top + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - top) / max(self.steps - top, 1.0)))


def seed_of(seed: int, step: int) -> int:
    """An independent seed for every step."""
    return int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint32)[0])


def fit(
    module: nn.Module,
    loss_at: LossAt,
    schedule: Schedule,
    *,
    file: Path,
    report: Report,
    faster: Sequence[tuple[nn.Module, float]] = (),
) -> None:
    """Train in place what in `module` requires gradients, or go on from `file`, or take the result out of it.

    Args:
        file: safetensors; written every `keep_every` steps and at the end.
        faster: modules inside it with a learning rate of their own and no decay.

    Raises:
        TrainingFailed: the loss is no number any more, or the file belongs to other settings.
    """
    optimiser = _optimiser(module, schedule, faster)
    start = _restore(file, module, optimiser, schedule)
    highest = [group["lr"] for group in optimiser.param_groups]
    with torch.random.fork_rng():
        for step in range(start, schedule.steps):
            torch.manual_seed(seed_of(schedule.seed, step))
            for group, rate in zip(optimiser.param_groups, highest, strict=True):
                group["lr"] = rate * schedule.factor(step)
            loss, told = loss_at(step)
            _update(module, optimiser, loss, schedule, step)
            done = step + 1
            if done == schedule.steps or done % schedule.keep_every == 0:
                _keep(file, module, optimiser if done < schedule.steps else None, done, schedule.tag)
            report(told, done / schedule.steps)


def _optimiser(
    module: nn.Module, schedule: Schedule, faster: Sequence[tuple[nn.Module, float]]
) -> torch.optim.Optimizer:
    groups: list[dict[str, Any]] = []
    taken: set[int] = set()
    for part, rate in faster:
        chosen = [p for p in part.parameters() if p.requires_grad]
        taken |= {id(p) for p in chosen}
        if chosen:
            groups.append({"params": chosen, "lr": rate, "weight_decay": 0.0})
    groups.insert(0, {"params": [p for p in module.parameters() if p.requires_grad and id(p) not in taken]})
    return torch.optim.AdamW(groups, lr=schedule.learning_rate, weight_decay=schedule.weight_decay)


def _update(module: nn.Module, optimiser: torch.optim.Optimizer, loss: Tensor, schedule: Schedule, step: int) -> None:
    if not torch.isfinite(loss):
        raise TrainingFailed(
            f"the loss is {float(loss.detach())} at step {step} of {schedule.steps}; lower learning_rate "
            f"({schedule.learning_rate:g}), or check the samples for values that are no numbers"
        )
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_([p for p in module.parameters() if p.grad is not None], schedule.clip)
    optimiser.step()


def _keep(file: Path, module: nn.Module, optimiser: torch.optim.Optimizer | None, step: int, tag: str) -> None:
    """Write all or nothing: a kill leaves the file before, or the new one."""
    tensors = {f"module.{name}": value for name, value in module.state_dict().items()}
    if optimiser is not None:
        for number, moments in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{name}": value for name, value in moments.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_suffix(".partial")
    kept = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    save_file(kept, beside, {_STEP: str(step), _TAG: tag})
    with beside.open("rb") as written:
        os.fsync(written.fileno())
    beside.replace(file)


def _restore(file: Path, module: nn.Module, optimiser: torch.optim.Optimizer, schedule: Schedule) -> int:
    """Take over what the file holds; returns the step to go on with, 0 without a file."""
    if not file.is_file():
        return 0
    try:
        with safe_open(file, framework="pt") as opened:
            about = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as exc:
        raise TrainingFailed(f"{file} is no readable checkpoint: {exc}; delete it to train anew") from exc
    if about.get(_TAG) != schedule.tag or not about.get(_STEP, "").isdigit():
        raise TrainingFailed(f"{file} was made with other settings; delete it, or choose another work folder")
    state: dict[str, Any] = {}
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "module":
            state[rest] = value
        else:
            number, _, moment = rest.partition(".")
            moments.setdefault(int(number), {})[moment] = value
    module.load_state_dict(state)
    if moments:
        optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
    return int(about[_STEP])
