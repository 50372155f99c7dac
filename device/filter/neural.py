"""A linear filter on pooled features of a cut, and its file.

After Matsubara, Callegaro, Baidya, Levorato and Singh, "Head Network Distillation: Splitting Distilled Deep Neural
Networks for Resource-Constrained Edge Computing Systems" (2020), where a small network behind the head tells pictures
without an object of interest apart. Here it is the smallest such network: means over areas, and one weight for each.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from device.errors import FilterError
from runtime.manifest import Manifest

FORMAT = "1"
MOST_BYTES = 1 << 24
"""Of a filter's file."""


@dataclass(frozen=True, eq=False)
class NeuralFilter:
    """A score for each frame: the higher, the more there is to see.

    Attributes:
        bundle: SHA-256 of the bundle's manifest, hexadecimal: features of another head mean something else.
        cut: whose features it takes.
        weights: float32, [channels, rows, columns]; rows and columns are areas that the features are averaged over.
        bias: added to the weighted sum.
        threshold: frames with a lower score show nothing; minus infinity passes every one.
        keep: share of the frames with something to see that it was made to pass.
        examples: of frames with something to see, that the threshold rests on.
    """

    bundle: str
    cut: int
    weights: NDArray[np.float32]
    bias: float
    threshold: float
    keep: float
    examples: int

    def score(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """Scores of a batch of features, [batch, ...] as the cut declares, as [batch]."""
        pooled = pool(features, self.weights.shape[1:])
        found: NDArray[np.float64] = (
            pooled.reshape(len(pooled), -1) @ self.weights.reshape(-1).astype(float) + self.bias
        )
        return found

    def sees(self, score: float) -> bool:
        """Whether a frame of this score is worth more than being dropped; one that is no number is."""
        return not score < self.threshold

    def save(self, path: Path) -> None:
        """Write the file.

        Raises:
            FilterError: it cannot be written.
        """
        told = {
            "format": FORMAT, "bundle": self.bundle, "cut": self.cut, "bias": self.bias, "threshold": self.threshold,
            "keep": self.keep, "examples": self.examples,
        }  # fmt: skip
        try:
            save_file({"weights": self.weights}, path, metadata={"isthmus.filter": json.dumps(told)})
        except (OSError, SafetensorError) as exc:
            raise FilterError(f"filter {str(path)!r} cannot be written: {exc}; set another path") from exc

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read a file.

        Raises:
            FilterError: it is not there, damaged, or of a newer format.
        """
        try:
            if path.stat().st_size > MOST_BYTES:
                raise FilterError(f"filter {str(path)!r} is larger than any filter; make it again: isthmus filter")
            with safe_open(path, framework="numpy") as file:
                told = json.loads((file.metadata() or {})["isthmus.filter"])
                weights = file.get_tensor("weights")
            if told["format"] != FORMAT:
                raise FilterError(f"filter {str(path)!r} has format {told['format']!r}; this isthmus reads {FORMAT!r}")
            return cls(
                str(told["bundle"]), int(told["cut"]), weights.astype(np.float32), float(told["bias"]),
                float(told["threshold"]), float(told["keep"]), int(told["examples"]),
            )  # fmt: skip
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as exc:
            raise FilterError(f"filter {str(path)!r} cannot be read: {exc!r}; make it again: isthmus filter") from exc

    def require_fit(self, manifest: Manifest, digest: bytes) -> None:
        """Whether it was made for this bundle.

        Raises:
            FilterError: it was not; its scores would mean nothing.
        """
        if self.bundle != digest.hex():
            raise FilterError(
                f"the filter was made for bundle {self.bundle[:16]} and this one is {digest.hex()[:16]}; "
                "make one for it: isthmus filter"
            )
        segments = len(manifest.segments)
        if not 1 <= self.cut < segments or self.weights.shape != self._wanted(manifest):
            raise FilterError("the filter does not fit the cut that it names; make it again: isthmus filter")
        if not (np.isfinite(self.weights).all() and math.isfinite(self.bias)):
            raise FilterError("the filter holds numbers that are none; make it again: isthmus filter")

    def _wanted(self, manifest: Manifest) -> tuple[int, ...]:
        shape = manifest.cuts[self.cut].tensor.shape
        if len(shape) == 3 and self.weights.ndim == 3:
            return shape[0], min(self.weights.shape[1], shape[1]), min(self.weights.shape[2], shape[2])
        return shape[-1], 1, 1


def pool(features: NDArray[Any], grid: tuple[int, ...]) -> NDArray[np.float64]:
    """Means over areas.

    Args:
        features: [batch, channels, height, width]; or [batch, ..., channels], averaged over all between.
        grid: rows and columns of areas, at most as many as there are positions.

    Returns:
        [batch, channels, rows, columns].
    """
    if features.ndim != 4:
        means: NDArray[np.float64] = features.reshape(len(features), -1, features.shape[-1]).mean(axis=1, dtype=float)
        return means[:, :, None, None]
    return _means(_means(features.astype(float), grid[0], axis=2), grid[1], axis=3)


def _means(values: NDArray[np.float64], parts: int, axis: int) -> NDArray[np.float64]:
    """Means over `parts` neighbouring stretches of an axis, as even as they can be."""
    edges = np.linspace(0, values.shape[axis], parts + 1).astype(int)
    sums = np.add.reduceat(values, edges[:-1], axis=axis)
    lengths = np.diff(edges).reshape([-1 if one == axis else 1 for one in range(values.ndim)])
    found: NDArray[np.float64] = sums / lengths
    return found
