"""Records of a source, for models of several inputs, as the rows of bytes that such models take."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from device.sources.source import Captured, Content, Source
from runtime.errors import UnsupportedShape
from runtime.inputs import row_of
from runtime.manifest import Manifest


class Joined:
    """A source whose NumPy records (a field for each input) are joined. Other items stay as they are.

    Args:
        source: whose items.
        manifest: of the bundle; its inputs stay the same for the whole run.
    """

    def __init__(self, source: Source, manifest: Manifest) -> None:
        self.source = source
        self._manifest = manifest
        self.interval_s = source.interval_s

    async def frames(self) -> AsyncGenerator[Captured, None]:
        async with aclosing(self.source.frames()) as items:
            async for captured in items:
                yield replace(captured, content=row_or_reason(captured.content, self._manifest))

    def samples(self, number: int) -> list[NDArray[Any]]:
        rows = [row_or_reason(item, self._manifest) for item in self.source.samples(number)]
        return [row for row in rows if not isinstance(row, str)]


def row_or_reason(content: Content, manifest: Manifest) -> Content:
    """A record joined; the reason why there is no item, where its fields are not the model's inputs."""
    if isinstance(content, str):
        return content
    try:
        return row_of(content, manifest)
    except UnsupportedShape as exc:
        return str(exc)
