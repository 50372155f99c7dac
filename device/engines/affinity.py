"""Keeping a thread, and the threads that it starts from then on, on some of the processors."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from runtime.errors import SettingsError


def require_processors(processors: Sequence[int]) -> None:
    """Whether this process may run there.

    Raises:
        SettingsError: it may not, or the system does not let programs choose.
    """
    if not processors:
        return
    if sys.platform != "linux":
        raise SettingsError("engine.processors needs Linux; remove the key, and the system places the threads")
    allowed = os.sched_getaffinity(os.getpid())
    foreign = sorted(set(processors) - allowed)
    if foreign:
        raise SettingsError(
            f"engine.processors names {', '.join(map(str, foreign))}, where this process may not run; "
            f"it may on {', '.join(map(str, sorted(allowed)))}"
        )


def pin(processors: Sequence[int]) -> None:
    """Keep the calling thread on these processors; none leaves it where it is. They have been checked."""
    if processors and sys.platform == "linux":
        os.sched_setaffinity(0, processors)


@contextmanager
def pinned(processors: Sequence[int]) -> Iterator[None]:
    """The calling thread stays on these processors for a while."""
    if not processors or sys.platform != "linux":
        yield
        return
    before = os.sched_getaffinity(0)
    pin(processors)
    try:
        yield
    finally:
        pin(tuple(before))
