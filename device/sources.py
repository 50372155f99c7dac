"""Where frames come from.

To add a source: one class with `frames`, one `kind` in `device.settings`, one line in `open_source`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from device.errors import SourceError
from device.settings import SourceSettings

SUFFIXES = (".jpeg", ".jpg", ".npy", ".png")
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Captured:
    """One item of a source.

    `captured_s` is when it was due, on the clock of the source: a capture that the machine delays is late, not younger.
    """

    name: str
    captured_s: float
    content: NDArray[Any] | str
    """The array, without a batch axis; or the reason why there is none."""


class Source(Protocol):
    """Yields captured items until it has no more or is closed."""

    def frames(self) -> AsyncIterator[Captured]:
        """The items, in order, each no earlier than it is due."""

    def samples(self, number: int) -> list[NDArray[Any]]:
        """Up to so many readable items, without waiting for any to be due. Blocks on the disk."""


class FolderSource:
    """Replays the pictures and arrays of a folder, sorted by name, over and over.

    Args:
        paths: what to replay.
        rate_hz: items per second.
        limit: items until the end; None never ends.
        clock: monotonic seconds.
    """

    def __init__(self, paths: Sequence[Path], *, rate_hz: float, limit: int | None, clock: Clock) -> None:
        self._paths = paths
        self._rate_hz = rate_hz
        self._limit = limit
        self._clock = clock

    async def frames(self) -> AsyncIterator[Captured]:
        start_s = self._clock()
        for number in count() if self._limit is None else range(self._limit):
            path = self._paths[number % len(self._paths)]
            content = await asyncio.to_thread(read_item, path)
            due_s = start_s + number / self._rate_hz
            await asyncio.sleep(max(0.0, due_s - self._clock()))
            yield Captured(path.name, due_s, content)

    def samples(self, number: int) -> list[NDArray[Any]]:
        found = map(read_item, self._paths)
        return list(islice((content for content in found if not isinstance(content, str)), number))


def read_item(path: Path) -> NDArray[Any] | str:
    """A picture as uint8 [height, width, 3], or an array as it is; where it cannot be read, the reason."""
    try:
        if path.suffix.lower() == ".npy":
            array: NDArray[Any] = np.load(path, allow_pickle=False)
            return array
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except UnidentifiedImageError:
        return f"{path.name} cannot be read: it is not a picture"
    except (OSError, ValueError, EOFError, SyntaxError, Image.DecompressionBombError) as exc:
        # Pillow reports damaged PNG chunks as SyntaxError; NumPy a damaged header as ValueError.
        return f"{path.name} cannot be read: {exc}"


def open_source(settings: SourceSettings, *, clock: Clock) -> Source:
    """The source that the settings name.

    Raises:
        SourceError: its folder is missing or has nothing to replay.
    """
    folder = settings.path
    if not folder.is_dir():
        raise SourceError(f"source.path {str(folder)!r} is not a folder; set it to a folder of pictures")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise SourceError(f"source.path {str(folder)!r} holds no {', '.join(SUFFIXES)} file; put some there")
    return FolderSource(paths, rate_hz=settings.rate_hz, limit=settings.limit, clock=clock)
