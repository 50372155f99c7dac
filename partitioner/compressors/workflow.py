"""From a model and unlabelled samples to a bundle with calibrated codecs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import torch
from numpy.typing import NDArray
from torch import nn

from partitioner.api import INPUT, LearnedPart, partition
from partitioner.compressors.calibrated import Settings, fit_calibrated
from runtime.manifest import ImageLevel, Level, Manifest, RawLevel, ZstdLevel

_BATCH = 20
_PICTURES: Final = tuple(ImageLevel(format="jpeg", quality=quality) for quality in (20, 40, 60, 75, 85, 92))
"""What the cuts are held against, and what a device may send instead."""


def calibrated_bundle(
    model: nn.Module,
    samples: NDArray[Any],
    cuts: Sequence[str],
    output: Path,
    *,
    model_id: str,
    task: Literal["classification", "tensor"] = "classification",
    settings: Settings | None = None,
    report: Callable[[str], None] = lambda text: None,
) -> Manifest:
    """Fit a codec at each cut and write the bundle; a model of pictures also gets picture files as levels of its input.

    Args:
        model: in evaluation mode.
        samples: [items, ...] of the model's input, unlabelled.
        cuts: modules to cut after.
        report: called with what is under way.

    Raises:
        PartitionError: the message names the fix.
    """
    inputs = torch.from_numpy(samples)
    batches = [inputs[start : start + _BATCH] for start in range(0, len(inputs), _BATCH)]
    parts = partition(model, inputs[:2], cuts=list(cuts))
    levels: dict[str, list[Level | LearnedPart]] = {}
    if inputs.dtype == torch.uint8 and inputs.ndim == 4 and inputs.shape[3] == 3:
        levels[INPUT] = [*_PICTURES, RawLevel()]
    for number, cut in enumerate(parts.cuts, start=1):
        report(f"calibrating the cut after {cut.name}")
        with torch.no_grad():
            activations = torch.cat([parts.run(batch, last=number) for batch in batches])
        fitted = fit_calibrated(partial(parts.run, first=number), activations, settings or Settings(task=task))
        levels[cut.name] = [fitted, ZstdLevel(), RawLevel()]
    report("exporting")
    return parts.save(
        output,
        model_id=model_id,
        task=task,
        levels=levels,
        provenance={"codecs": f"calibrated on {len(samples)} unlabelled samples"},
    )
