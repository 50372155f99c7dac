"""What a tier's batches take, found as a tier finds it when it starts."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from runtime.bundle import Bundle
from runtime.engines import engine_named
from runtime.stretch import Stretch
from serving.scheduling.costs import MAX_SIZE, Costs
from serving.served import Served
from serving.steps import Step
from serving.warming import warm

WARM_UPS = 15
"""A tier needs one, since it goes on learning. Here nothing is learnt later, and one alone is off by half at times."""


def batch_seconds(bundle: Path, cut: int, level: int, *, slowdown: float = 1.0) -> tuple[float, ...]:
    """Seconds of a batch of frames of one cut and level, by size from 0 to `MAX_SIZE`, on a tier like this machine.

    The median of several warm-ups in processor time, which is what an emulated slowdown multiplies.

    Args:
        slowdown: how many times slower than this machine the tier is.

    Raises:
        BundleError: the bundle cannot be used.
    """
    found = []
    with Bundle.open(bundle) as opened:
        served = _OneWay(opened, cut, level)
        for _ in range(WARM_UPS):
            costs = Costs()
            warm(served, costs, Stretch(), time.thread_time)
            found.append(costs.total(served.between(cut, level), 0)[: MAX_SIZE + 1])
    return tuple(float(one) for one in slowdown * np.median(found, axis=0))


class _OneWay(Served):
    """Only the steps of frames of one cut and level."""

    def __init__(self, bundle: Bundle, cut: int, level: int) -> None:
        super().__init__(bundle, engine_named("onnxruntime", 1))
        self._on_the_way = self.between(cut, level).steps

    def steps(self) -> list[tuple[int, Step]]:
        """Those alone."""
        return [(cut, step) for cut, step in super().steps() if step in self._on_the_way]
