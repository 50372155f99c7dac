"""Sensor signals: windows of a recorded array."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.errors import SourceError
from device.sources.source import Item


class Signal:
    """A signal, [samples] or [channels, samples], as overlapping windows of its last axis.

    Args:
        path: an NPY file; it is mapped, not loaded.
        window: samples of one frame.
        hop: samples from one frame's start to the next one's.

    Raises:
        SourceError: no array of one or two axes, or shorter than a window.
    """

    def __init__(self, path: Path, *, window: int, hop: int) -> None:
        self._name = path.name
        self._window = window
        self._hop = hop
        self._array = _mapped(path)
        if self._array.ndim not in (1, 2) or self._array.shape[-1] < window:
            raise SourceError(
                f"source.path {str(path)!r} holds {self._array.dtype} {list(self._array.shape)}; a signal is [samples] "
                f"or [channels, samples] with at least source.window = {window} samples"
            )

    def windows(self) -> Iterator[Item]:
        """One pass; each window is a copy, [window] or [channels, window]."""
        for start in range(0, self._array.shape[-1] - self._window + 1, self._hop):
            yield f"{self._name}:{start}", np.array(self._array[..., start : start + self._window])


def _mapped(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as exc:
        raise SourceError(f"source.path {str(path)!r} is no NPY array: {exc}; name one") from exc
    return array
