"""Video files and cameras, decoded by FFmpeg through PyAV (`pip install isthmus[video]`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from device.errors import SourceError
from device.sources.source import Item


class Video:
    """Pictures of a file or a camera, uint8 [height, width, 3].

    Args:
        path: a file, or what the capture format calls its device (`/dev/video0`).
        capture: FFmpeg's name of the capture format (`v4l2`); None for files.

    Raises:
        SourceError: PyAV is not installed, or there is no picture to be had.
    """

    def __init__(self, path: str, *, capture: str | None = None) -> None:
        self._path = path
        self._capture = capture
        with self._opened() as container:
            self.rate_hz = float(container.streams.video[0].average_rate or 0.0)
            """Pictures per second as the file tells; 0 where it does not."""

    def pictures(self) -> Iterator[Item]:
        """One pass. A picture that is damaged is an item with its reason, and ends the pass."""
        av = _pyav()
        with self._opened() as container:
            number = 0
            try:
                for frame in container.decode(video=0):
                    yield f"{self._path}:{number}", frame.to_ndarray(format="rgb24")
                    number += 1
            except av.FFmpegError as exc:
                yield f"{self._path}:{number}", f"{self._path} cannot be decoded from picture {number} on: {exc}"

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        av = _pyav()
        try:
            container = av.open(self._path, format=self._capture)
        except (av.FFmpegError, ValueError) as exc:
            raise SourceError(f"source.path {self._path!r} cannot be opened as a video: {exc}; check path") from exc
        with container:
            if not container.streams.video:
                raise SourceError(f"source.path {self._path!r} has no video stream; name another file")
            yield container


def _pyav() -> Any:
    try:
        import av
    except ImportError as exc:
        raise SourceError(f"videos need PyAV ({exc}); run: pip install 'isthmus[video]'") from exc
    return av
