"""Less memory on small boards: glibc gives threads arenas of their own, and each keeps what was once freed in it."""

from __future__ import annotations

import ctypes

_M_ARENA_MAX = -8
"""`mallopt(3)`."""
ARENAS = 1
"""Threads of an agent hardly ever allocate at once. With one each, MobileNetV2 streams in 3 MiB more."""


def few_arenas() -> None:
    """Let all threads share the first arena from here on, where the C library has such a thing."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, ARENAS)
