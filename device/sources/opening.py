"""From settings to a source: the one place that knows every kind."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from numpy.typing import NDArray

from device.sources.files import files_of_folder, files_of_pattern, read_all
from device.sources.joined import Joined
from device.sources.live import Live
from device.sources.picked import Fitted, Picked
from device.sources.push import Keep, PushSource
from device.sources.replay import Replay
from device.sources.settings import Fit, SourceSettings
from device.sources.signal import Signal
from device.sources.source import Clock, Source
from device.sources.stdin import npy_arrays, raw_arrays
from device.sources.video import Video
from runtime.manifest import TensorSpec


def open_source(
    settings: SourceSettings, *, clock: Clock, spec: TensorSpec | None = None, keep: Keep | None = None
) -> Source:
    """The source that the settings name.

    Args:
        settings: `[source]`.
        clock: monotonic seconds.
        spec: the model's input, for `source.fit`.
        keep: makes pushed frames durable where `source.durable` asks for it.

    Raises:
        SourceError: what it names is missing, has nothing to give or cannot be opened.
    """
    source = _opened(settings, clock, keep if settings.durable else None)
    if settings.every > 1 or settings.limit is not None:
        source = Picked(source, every=settings.every, limit=settings.limit)
    if spec is not None and settings.fit is not Fit.NONE:
        source = Fitted(source, spec, settings.fit)
    return source


def from_iterable(items: Iterable[NDArray], *, rate_hz: float, clock: Clock) -> Source:  # type: ignore[type-arg]
    """Arrays of a Python program as a source, for `device.program.run(source=...)`; one pass.

    Args:
        items: arrays without a batch axis; iterated over once, in a thread.
        rate_hz: items per second.
        clock: the event loop's `time`.
    """
    named = ((f"item:{number}", item) for number, item in enumerate(items))
    return Replay(lambda: named, rate_hz=rate_hz, loop=False, clock=clock)


def listening_port(source: Source) -> int | None:
    """Where a push source takes frames; None for others."""
    while isinstance(source, Picked | Fitted | Joined):
        source = source.source
    return source.port if isinstance(source, PushSource) else None


def _opened(settings: SourceSettings, clock: Clock, keep: Keep | None) -> Source:
    path, rate_hz = settings.path or Path(), settings.usual_hz
    match settings.kind:
        case "folder":
            files = partial(read_all, files_of_folder(path))
            return Replay(files, rate_hz=rate_hz, loop=settings.loop, clock=clock)
        case "glob":
            files = partial(read_all, files_of_pattern(str(path)))
            return Replay(files, rate_hz=rate_hz, loop=settings.loop, clock=clock)
        case "video":
            video = Video(str(path))
            own_hz = settings.speed * (settings.rate_hz or video.rate_hz or rate_hz)
            return Replay(video.pictures, rate_hz=own_hz, loop=settings.loop, clock=clock)
        case "signal":
            assert settings.window is not None
            assert settings.sample_rate_hz is not None
            hop = settings.hop or settings.window
            windows = Signal(path, window=settings.window, hop=hop).windows
            rate_hz = settings.speed * settings.sample_rate_hz / hop
            return Replay(windows, rate_hz=rate_hz, loop=settings.loop, clock=clock)
        case "camera":
            return Live(Video(str(path), capture=settings.capture).pictures, rate_hz=rate_hz, clock=clock)
        case "stdin":
            arrays = npy_arrays if settings.shape is None else partial(raw_arrays, settings.shape, settings.dtype)
            return Live(arrays, rate_hz=rate_hz, clock=clock)
        case "push":
            return PushSource(settings.host, settings.port, rate_hz=rate_hz, clock=clock, keep=keep)
