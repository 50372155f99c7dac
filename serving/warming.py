"""Runs every step before the first frame does: loads it, measures it, and finds out whether it can be batched."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from protocol.messages import Frame
from runtime.errors import BundleError
from runtime.inputs import input_noise, noise
from runtime.stretch import Stretch
from serving.passage import Passage
from serving.scheduling.costs import Costs
from serving.served import Served
from serving.steps import Step

_SIZES: Final = (1, 2, 4, 8)
_FEW: Final = (1, 2)
_BUDGET_S: Final = 0.1
"""For one step; what it costs at larger sizes is learnt while serving."""
_RELATIVE, _ABSOLUTE = 1e-3, 1e-4
"""How far a batched result may be from a single one: engines sum in another order for other sizes."""

_log = logging.getLogger(__name__)


def warm(served: Served, costs: Costs, stretch: Stretch, clock: Callable[[], float] = time.monotonic) -> None:
    """Load and run all steps of a bundle; blocks.

    A step whose results in a batch are not those of its items one by one is never batched: such graphs exist, where
    the model mixes items or was exported for a batch of one.

    Raises:
        BundleError: a file is damaged, or the engine cannot run it.
    """
    generator = np.random.default_rng(0)
    for cut, step in served.steps():
        items = list(_items(served, cut, step, generator))
        alone = [_done(step, [item], stretch) for item in items]  # the first run of each graph is slow: not measured
        began = clock()
        for size in _SIZES if step.joins else _FEW:
            if clock() - began > _BUDGET_S:
                break
            again = [items[place % len(items)] for place in range(size)]
            before = clock()
            try:
                together = _done(step, [_fresh(item) for item in again], stretch)
            except BundleError as exc:
                if size == 1:
                    raise
                _log.warning("%s cannot be batched: %s", step, exc)
                costs.of(step).forbid_batches()
                break
            took_s = clock() - before
            if not _same(together, alone, len(items)):
                _log.warning("%s mixes the items of a batch, and will be run one by one", step)
                costs.of(step).forbid_batches()
                break
            costs.learn(step, size, took_s)


def _items(served: Served, cut: int, step: Step, generator: np.random.Generator) -> Iterator[Passage]:
    """Two frames that stand before a step."""
    declared = served.bundle.manifest.cuts[cut]
    for _ in range(2):
        activation = noise(declared.tensor, 1, generator) if cut else input_noise(served.bundle.manifest, 1, generator)
        level = next((level for level in range(len(declared.levels)) if served.decoding(cut, level) is step), 0)
        payload = served.codecs.at(cut, level).encode(activation) if step.decodes else b""
        frame = Frame.build(id=1, bundle=0, cut=cut, level=level, shape=declared.tensor.shape, payload=payload)
        yield Passage(frame, 0.0, 0.0, cut, None if step.decodes else activation)


def _fresh(item: Passage) -> Passage:
    return Passage(item.frame, 0.0, 0.0, item.frame.cut, None if item.frame.payload else item.activation)


def _done(step: Step, items: Sequence[Passage], stretch: Stretch) -> list[Passage]:
    passages = [_fresh(item) for item in items]
    for fault in stretch.call(step, passages).values():
        raise fault
    return passages


def _same(together: Sequence[Passage], alone: Sequence[Sequence[Passage]], count: int) -> bool:
    return all(_alike(passage, alone[place % count][0]) for place, passage in enumerate(together))


def _alike(one: Passage, other: Passage) -> bool:
    if one.payload != other.payload:
        return False
    pairs = [(output.array(), truth.array()) for output, truth in zip(one.outputs, other.outputs, strict=True)]
    if one.activation is not None and other.activation is not None:
        pairs.append((one.activation, other.activation))
    return all(
        np.allclose(found, truth, rtol=_RELATIVE, atol=_ABSOLUTE * max(1.0, _size(truth)), equal_nan=True)
        for found, truth in pairs
    )


def _size(array: NDArray[Any]) -> float:
    finite = array[np.isfinite(array)]
    return float(np.abs(finite).max()) if finite.size else 0.0
