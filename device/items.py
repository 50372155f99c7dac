"""What a model is measured and warmed up with: items of its source that fit it, or noise."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.inputs import input_noise
from runtime.manifest import Manifest

_log = logging.getLogger(__name__)


def items_for(samples: Sequence[NDArray[Any]], manifest: Manifest) -> list[NDArray[Any]]:
    """Those that fit the model, with a batch axis; where there are none, noise."""
    spec = manifest.input
    fitting = [item[np.newaxis] for item in samples if item.shape == spec.shape and item.dtype == spec.dtype]
    if fitting:
        return fitting
    if samples:
        _log.warning("no item of the source has the model's input %s %s", spec.dtype, list(spec.shape))
    return [input_noise(manifest, 1, np.random.default_rng(0))]
