"""A machine that is slower than this one, in real waiting: for emulated devices and tiers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Returned = TypeVar("Returned")


class Stretch:
    """Makes calls take `factor` times their processor time, by sleeping after the work; 1.0 changes nothing.

    Processor time of the calling thread is what counts, not the clock on the wall: waiting for a busy machine is not
    stretched. Give engines one thread, or their helpers' work goes unseen.

    Args:
        factor: at least 1.
        sleep: takes seconds.
        thread_time: processor time of the calling thread, in seconds.
    """

    def __init__(
        self,
        factor: float = 1.0,
        *,
        sleep: Callable[[float], None] = time.sleep,
        thread_time: Callable[[], float] = time.thread_time,
    ) -> None:
        if not factor >= 1.0:
            raise ValueError(f"a stretch of {factor} would have to give time back; use a factor of 1 or more")
        self.factor = factor
        self._sleep = sleep
        self._thread_time = thread_time

    def call(
        self, work: Callable[Arguments, Returned], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Returned:
        """Do the work in this thread, then wait out the rest. An error of the work is raised after the wait too."""
        if self.factor == 1.0:
            return work(*args, **kwargs)
        started = self._thread_time()
        try:
            return work(*args, **kwargs)
        finally:
            owed = (self._thread_time() - started) * (self.factor - 1.0)
            if owed > 0.0:
                self._sleep(owed)
