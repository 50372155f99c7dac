"""Answers as lines of JSON: at least once, the key tells which were delivered again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from device.errors import SinkError
from device.sinks.sink import Delivery
from device.sole import hold


class JsonLines:
    """Appends to a file; on disk (fsync) when `put` returns.

    A kill or a full disk can leave an incomplete last line. It is cut off when the file is opened again and before the
    next attempt: its answer is delivered again.

    Raises:
        SinkError: the file cannot be opened, or another agent writes it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with ExitStack() as opening:
                self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
                opening.callback(os.close, self._file)
                hold(self._file)
                self._end = _whole_lines(self._file)
                opening.pop_all()
        except OSError as exc:
            raise SinkError(f"answers cannot be written to {str(path)!r}: {exc}; set another path") from exc

    def put(self, deliveries: Sequence[Delivery]) -> None:
        data = "".join(delivery.to_json() + "\n" for delivery in deliveries).encode()
        try:
            os.ftruncate(self._file, self._end)
            written = os.pwrite(self._file, data, self._end)
            if written < len(data):
                raise SinkError(f"{str(self._path)!r} took {written} of {len(data)} bytes: its disk is full; free it")
            os.fdatasync(self._file)
        except OSError as exc:
            raise SinkError(f"answers cannot be written to {str(self._path)!r}: {exc}; free its disk") from exc
        self._end += len(data)

    def close(self) -> None:
        os.close(self._file)


def _whole_lines(file: int, step: int = 1 << 16) -> int:
    """Where the last whole line ends."""
    end = os.fstat(file).st_size
    while end > 0:
        start = max(0, end - step)
        last = os.pread(file, end - start, start).rfind(b"\n")
        if last >= 0:
            return start + last + 1
        end = start
    return 0
