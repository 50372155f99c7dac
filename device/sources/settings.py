"""`[source]`: where frames come from, how fast, and which of them are taken."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from device.table import Table
from runtime.manifest import Dimension, Dtype
from transport.address import is_loopback
from transport.settings import Port

Kind = Literal["folder", "glob", "video", "camera", "signal", "stdin", "push"]
USUAL_HZ = 10.0

_NEEDS: dict[str, tuple[str, ...]] = {
    "folder": ("path",),
    "glob": ("path",),
    "video": ("path",),
    "camera": ("path",),
    "signal": ("path", "window", "sample_rate_hz"),
}
_TAKES: dict[str, tuple[str, ...]] = {
    "path": ("folder", "glob", "video", "camera", "signal"),
    "loop": ("folder", "glob", "video", "signal"),
    "speed": ("folder", "glob", "video", "signal"),
    "capture": ("camera",),
    "window": ("signal",),
    "hop": ("signal",),
    "sample_rate_hz": ("signal",),
    "shape": ("stdin",),
    "dtype": ("stdin",),
    "host": ("push",),
    "port": ("push",),
    "durable": ("push",),
}
"""Kinds that a key belongs to; keys that are not here belong to all."""


class Fit(StrEnum):
    """What is done with a picture of another size than the model's."""

    NONE = "none"
    STRETCH = "stretch"
    CROP = "crop"


class SourceSettings(Table):
    """`[source]`. Which keys a kind needs and takes is checked; the page docs/device.md has them in a table."""

    kind: Kind = "folder"
    path: Path | None = None
    rate_hz: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Frames per second; without it a video's own, or `USUAL_HZ`. Of a live source: what to expect."""
    speed: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """How many times faster than that a recording is replayed."""
    loop: bool = True
    """Whether a recording begins anew after its end."""
    every: Annotated[int, Field(ge=1)] = 1
    """One of so many items is taken."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Frames until the program ends by itself."""
    keep: Literal["latest", "all"] = "latest"
    """What waits for the device: the latest frame alone, or all up to `capacity`."""
    capacity: Annotated[int, Field(ge=1, le=65536)] = 256
    fit: Fit = Fit.NONE
    capture: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")] = "v4l2"
    """FFmpeg's name of a camera's capture format."""
    window: Annotated[int, Field(ge=1)] | None = None
    """Samples of one frame of a signal."""
    hop: Annotated[int, Field(ge=1)] | None = None
    """Samples from one frame's start to the next one's; without it, `window`."""
    sample_rate_hz: Annotated[float, Field(gt=0)] | None = None
    shape: Annotated[tuple[Dimension, ...], Field(min_length=1)] | None = None
    """Of raw items on standard input; without it they are NPY files, end to end."""
    dtype: Dtype = "uint8"
    host: str = "127.0.0.1"
    port: Port = 0
    durable: bool = False
    """Whether a pushed frame is on disk, in the spool, before its sender is told that it was taken."""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        for key in _NEEDS.get(self.kind, ()):
            if getattr(self, key) is None:
                raise ValueError(f"a source of kind {self.kind!r} needs source.{key}; add it")
        for key in self.model_fields_set & set(_TAKES):
            if self.kind not in _TAKES[key]:
                known = ", ".join(_TAKES[key])
                raise ValueError(f"source.{key} is for kind {known}, not for {self.kind!r}; remove it")
        if not is_loopback(self.host):
            raise ValueError(f"source.host = {self.host!r} is not this machine; frames are taken on loopback only")
        return self

    @property
    def usual_hz(self) -> float:
        """Frames per second of a source that has no rate of its own, as it is replayed."""
        return (self.rate_hz or USUAL_HZ) * self.speed
