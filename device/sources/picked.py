"""Which items of a source become frames: every n-th, up to so many, brought to the model's size."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from device.sources.settings import Fit
from device.sources.source import Captured, Source
from runtime.manifest import TensorSpec


class Picked:
    """A source of which only some items are taken.

    Args:
        source: whose items.
        every: one of so many is taken, the first one included.
        limit: frames until the end; None takes all.
    """

    def __init__(self, source: Source, *, every: int = 1, limit: int | None = None) -> None:
        self.source = source
        self._every = every
        self._limit = limit
        self.interval_s = source.interval_s * every

    async def frames(self) -> AsyncGenerator[Captured, None]:
        seen = taken = 0
        async with aclosing(self.source.frames()) as items:
            async for captured in items:
                if seen % self._every == 0:
                    yield captured
                    taken += 1
                    if taken == self._limit:
                        return
                seen += 1

    def samples(self, number: int) -> list[NDArray[Any]]:
        return self.source.samples(number)


class Fitted:
    """A source whose pictures are brought to the size that the model takes. Other items stay as they are.

    Args:
        source: whose items.
        spec: the model's input.
        how: `STRETCH` scales both sides, `CROP` scales the shorter one and cuts the middle out of the longer one.
    """

    def __init__(self, source: Source, spec: TensorSpec, how: Fit) -> None:
        self.source = source
        self._spec = spec
        self._how = how
        self.interval_s = source.interval_s

    async def frames(self) -> AsyncGenerator[Captured, None]:
        async with aclosing(self.source.frames()) as items:
            async for captured in items:
                content = captured.content
                if not isinstance(content, str) and not self._fits(content):  # most do: no thread is woken for these
                    captured = replace(captured, content=await asyncio.to_thread(self._resized, content))
                yield captured

    def samples(self, number: int) -> list[NDArray[Any]]:
        samples = self.source.samples(number)
        return [content if self._fits(content) else self._resized(content) for content in samples]

    def _fits(self, content: NDArray[Any]) -> bool:
        """Whether there is nothing to do about it."""
        return not _is_picture(content) or not _takes_pictures(self._spec) or content.shape == self._spec.shape

    def _resized(self, content: NDArray[Any]) -> NDArray[Any]:
        height, width, _ = self._spec.shape
        return resized(content, height, width, self._how)


def resized(picture: NDArray[np.uint8], height: int, width: int, how: Fit) -> NDArray[np.uint8]:
    """A picture, uint8 [any, any, 3], as uint8 [height, width, 3]; bilinear over the area of each new pixel."""
    image = Image.fromarray(picture)
    box = None
    if how is Fit.CROP:
        scale = min(image.width / width, image.height / height)
        left, top = (image.width - scale * width) / 2, (image.height - scale * height) / 2
        box = (left, top, left + scale * width, top + scale * height)
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, box=box))


def _is_picture(content: NDArray[Any]) -> bool:
    return content.dtype == np.uint8 and content.ndim == 3 and content.shape[2] == 3


def _takes_pictures(spec: TensorSpec) -> bool:
    return spec.dtype == "uint8" and len(spec.shape) == 3 and spec.shape[2] == 3
