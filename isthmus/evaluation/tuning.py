"""Classifiers tuned on what a codec leaves: the fair rivals, for much of an advantage over files is lost to them.

A copy of the network, or of what lies behind a cut, is trained on for a few hundred batches of samples that went
through the codec. Labels are the targets where there are any, else the network's own answers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from isthmus.evaluation.errors import BadItems
from partitioner.api import partition
from partitioner.compressors.losses import divergence
from partitioner.compressors.resumable import Schedule, fit
from partitioner.compressors.trainer import batch_at

Answers = Callable[[NDArray[Any]], NDArray[np.int64]]
"""Classes of what a codec leaves, int64 [items]."""
LEAST_ITEMS: Final = 32
_BATCH, _RATE, _SEED = 64, 1e-3, 0


class Tuner:
    """Tunes copies of one network.

    Args:
        model: the bundle's, in evaluation mode; it stays as it is.
        items: to tune on, [items, ...] as the model takes them; none of those that are tested.
        labels: of the items, int64 [items]; None: the network's own answers are the targets.
        steps: batches of each tuning.

    Raises:
        BadItems: too few items.
    """

    def __init__(self, model: nn.Module, items: NDArray[Any], labels: NDArray[np.int64] | None, *, steps: int) -> None:
        if len(items) < LEAST_ITEMS:
            raise BadItems(f"tuning takes at least {LEAST_ITEMS} samples, not {len(items)}; add some")
        self.items = items
        self._model, self._steps = model.eval(), steps
        self._tails: dict[str, nn.Module] = {}
        self._targets = _logits(self._model, items) if labels is None else torch.from_numpy(labels)

    def whole(self, left: NDArray[Any]) -> Answers:
        """The network tuned on `left`, which is `items` as a codec leaves them."""
        return self._tuned(deepcopy(self._model).train(), left)

    def behind(self, module: str, left: NDArray[np.float32]) -> Answers:
        """What lies behind the cut after a module, tuned on `left`: the items' activations as a codec leaves them.

        Raises:
            UnknownCut: the model has no such cut, so it is not the bundle's.
        """
        if module not in self._tails:
            segments = partition(self._model, torch.from_numpy(self.items[:2]), cuts=[module]).segments
            self._tails[module] = nn.Sequential(*segments[1:])
        return self._tuned(deepcopy(self._tails[module]), left)

    def _tuned(self, network: nn.Module, left: NDArray[Any]) -> Answers:
        network.requires_grad_(True)
        inputs = torch.from_numpy(left)

        def loss_at(step: int) -> tuple[Tensor, str]:
            chosen = torch.from_numpy(batch_at(step, len(inputs), _BATCH, _SEED))
            return self._loss(network(inputs[chosen]), self._targets[chosen]), ""

        with tempfile.TemporaryDirectory() as folder:
            schedule = Schedule(self._steps, _RATE, _SEED, weight_decay=0.02, keep_every=self._steps)
            fit(network, loss_at, schedule, file=Path(folder) / "tuned.safetensors", report=lambda told, done: None)
        network.eval()
        return lambda restored: _logits(network, restored).argmax(1).numpy()

    def _loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        if targets.ndim == 1:
            return F.cross_entropy(logits, targets)
        return divergence(logits, targets, 1.0).mean()


@torch.inference_mode()
def _logits(network: nn.Module, items: NDArray[Any]) -> Tensor:
    return torch.cat([network(torch.from_numpy(items[i : i + _BATCH])) for i in range(0, len(items), _BATCH)]).clone()
