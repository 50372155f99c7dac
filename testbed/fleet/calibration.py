"""What a tier's batches take, found as a tier finds it when it starts."""

from __future__ import annotations

from pathlib import Path

from runtime.bundle import Bundle
from runtime.engines import engine_named
from runtime.stretch import Stretch
from serving.scheduling.costs import MAX_SIZE, Costs
from serving.served import Served
from serving.warming import warm


def batch_seconds(bundle: Path, cut: int, level: int, *, slowdown: float = 1.0) -> tuple[float, ...]:
    """Seconds of a batch of frames of one cut and level, by size from 0 to `MAX_SIZE`, on a tier like this machine.

    Args:
        slowdown: how many times slower than this machine the tier is.

    Raises:
        BundleError: the bundle cannot be used.
    """
    with Bundle.open(bundle) as opened:
        served, costs = Served(opened, engine_named("onnxruntime", 1)), Costs()
        warm(served, costs, Stretch(slowdown))
        seconds = costs.total(served.between(cut, level), 0)
    return tuple(float(one) for one in seconds[: MAX_SIZE + 1])
