"""The prefilter of still scenes: a frame in which nothing has changed gets the answer that the scene has already.

Two comparisons, both on a quarter of the resolution, where noise of single pixels has averaged out: with the frame
before (something moves) and with the frame that the answer belongs to (something has moved slowly, or is gone).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from device.table import Table
from runtime.answers import Answer

Share = Annotated[float, Field(ge=0, le=1)]


class StillSettings(Table):
    """`[still]`: without the table, every frame is answered anew."""

    levels: Annotated[int, Field(ge=0, le=255)] = 10
    """By so many grey levels a pixel has to differ, at a quarter of the resolution, to count as changed."""
    step: Share = 0.01
    """Share of pixels that may have changed since the frame before."""
    drift: Share = 0.03
    """Share of pixels that may have changed since the frame that was answered."""
    refresh_s: Annotated[float, Field(gt=0)] = 10.0
    """An answer serves for so long at most."""


class Stillness:
    """Knows the scene and its answer. `look` is called from one thread at a time, the rest from the event loop's.

    Args:
        settings: what counts as a change.
        clock: monotonic seconds.
    """

    def __init__(self, settings: StillSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._before: NDArray[Any] | None = None
        self._answered: NDArray[Any] | None = None
        self._answer: Answer | None = None
        self._answered_s = 0.0
        self.scene = 0
        """Number of the scene; a change begins a new one."""

    def look(self, content: NDArray[Any]) -> int:
        """The scene that an item belongs to: a number as before, or a new one where something has changed."""
        seen = reduced(content)
        before, self._before = self._before, seen
        if not self._same(seen, before, self._settings.step) or not self._same(
            seen, self._answered, self._settings.drift
        ):
            self.scene += 1
            self._answered, self._answer = seen, None
        return self.scene

    def answer_of(self, scene: int) -> Answer | None:
        """The answer that a frame of this scene may have without being looked at; None where there is none (yet)."""
        fresh = self._clock() - self._answered_s <= self._settings.refresh_s
        return self._answer if scene == self.scene and fresh else None

    def learn(self, scene: int, answer: Answer | None) -> None:
        """A frame of this scene was answered."""
        if scene == self.scene and scene > 0:
            self._answer, self._answered_s = answer, self._clock()

    def forget(self) -> None:
        """Another model answers from here on."""
        self._answer = None

    def _same(self, one: NDArray[Any], other: NDArray[Any] | None, share: float) -> bool:
        if other is None or one.shape != other.shape or one.dtype != other.dtype:
            return False
        if one.dtype != np.int16:  # no picture: nothing but equality is the same
            return bool(np.array_equal(one, other))
        return float((np.abs(one - other) > self._settings.levels).mean()) <= share


def reduced(content: NDArray[Any]) -> NDArray[Any]:
    """What is compared: of a picture, uint8 [height, width, 3], the grey levels of 4x4 pixels each, as int16; anything
    else as it is."""
    if content.dtype != np.uint8 or content.ndim != 3 or min(content.shape[:2]) < 4:
        return content
    height, width = content.shape[0] // 4 * 4, content.shape[1] // 4 * 4
    rows = content[:height:2, :width:2].astype(np.uint16)  # half of the pixels of each direction: enough, and cheap
    blocks = rows.reshape(height // 4, 2, width // 4, 2, -1)
    grey: NDArray[Any] = (blocks.sum(axis=(1, 3, 4)) // (4 * content.shape[2])).astype(np.int16)
    return grey
