"""What it costs that batches go to workers of a Ray cluster: each call beside the same batch run in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.figure import Figure
from benchmarks.peer_models import DIGITS
from runtime.bundle import Bundle
from runtime.manifest import RawLevel
from serving.cluster.messages import Asked
from serving.cluster.ray_serve import RayWorkers
from serving.cluster.settings import RaySettings
from serving.cluster.tail import Tail

ENGINE = ("onnxruntime", 1)
ROUNDS = 9
CALLS = 50
"""Of one round of one side."""
PATIENCE_S = 60.0


def figures() -> Sequence[Figure]:
    """Milliseconds that a call adds, for batches of one and of eight inputs, and how long a worker took to start."""
    with Bundle.open(DIGITS) as bundle:
        here = Tail([(DIGITS, bundle.digest)], *ENGINE)
        workers = RayWorkers(RaySettings(least=1, most=1), "bench", [bundle], ENGINE)
        began_s = time.monotonic()
        workers.start()
        started_s = time.monotonic() - began_s
        try:
            added = [_added(bundle, here, workers, size) for size in (1, 8)]
        finally:
            workers.stop()
    return [
        *(
            Figure.of_runs(f"a call with {size} whole inputs", values, "ms", against="the same batch in this process")
            for size, values in zip((1, 8), added, strict=True)
        ),
        Figure("one worker started, with Ray itself", started_s, "s"),
    ]


def _added(bundle: Bundle, here: Tail, workers: RayWorkers, size: int) -> list[float]:
    spec, levels = bundle.manifest.input, bundle.manifest.cuts[0].levels
    raw = next(number for number, level in enumerate(levels) if isinstance(level, RawLevel))
    pictures = np.random.default_rng(1).integers(0, 256, (size, *spec.shape), dtype=np.uint8)
    batch = [Asked(0, raw, picture.tobytes()) for picture in pictures]
    sides: tuple[Callable[[], object], ...] = (
        lambda: workers.run(bundle.tag, batch, PATIENCE_S),
        lambda: here(bundle.tag, batch),
    )
    for side in sides:
        _median_ms(side)
    return [_median_ms(sides[0]) - _median_ms(sides[1]) for _ in range(ROUNDS)]


def _median_ms(call: Callable[[], object]) -> float:
    taken = []
    for _ in range(CALLS):
        began_s = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began_s)
    return 1e3 * float(np.median(taken))
