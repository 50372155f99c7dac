"""Run a program whose wall clock can be moved: `python -m testbed.shifted FILE MODULE [ARGUMENT ...]`.

On SIGUSR1 the program reads from FILE how many seconds its wall clock is ahead. What moves is `time.time` and
`time.time_ns` as Python code calls them; `datetime`, libraries in C and the monotonic clock do not. That is less than a
machine whose clock is set, but it needs no privilege and touches one program alone.
"""

from __future__ import annotations

import runpy
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType


class ShiftedClock:
    """The wall clock plus an offset.

    Args:
        file: holds the offset in seconds once there is one.
        true_ns: nanoseconds of the real wall clock.
    """

    def __init__(self, file: Path, true_ns: Callable[[], int] = time.time_ns) -> None:
        self._file = file
        self._true_ns = true_ns
        self._offset_ns = 0

    def read(self, number: int = 0, frame: FrameType | None = None) -> None:
        """Take the offset from the file; a signal handler."""
        self._offset_ns = round(float(self._file.read_text(encoding="ascii")) * 1e9)

    def time_ns(self) -> int:
        """In place of `time.time_ns`."""
        return self._true_ns() + self._offset_ns

    def time(self) -> float:
        """In place of `time.time`."""
        return self.time_ns() / 1e9


def main(arguments: list[str]) -> None:
    """Move the clock's functions, then become the module's `__main__`."""
    file, module, *rest = arguments
    clock = ShiftedClock(Path(file))
    time.time, time.time_ns = clock.time, clock.time_ns
    signal.signal(signal.SIGUSR1, clock.read)
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
