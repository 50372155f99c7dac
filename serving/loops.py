"""The event loop that a tier runs on: Python's own, or a quicker one of the same interface."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from importlib import import_module
from typing import Literal, TypeAlias, cast

from runtime.errors import SettingsError

EventLoop: TypeAlias = Literal["asyncio", "uvloop"]


def run(main: Callable[[], Coroutine[None, None, None]], event_loop: EventLoop) -> None:
    """Run a program to its end.

    Raises:
        SettingsError: the loop's library is not installed.
    """
    with asyncio.Runner(loop_factory=_factory(event_loop)) as runner:
        runner.run(main())


def _factory(event_loop: EventLoop) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if event_loop == "asyncio":
        return None
    try:
        return cast(Callable[[], asyncio.AbstractEventLoop], import_module("uvloop").new_event_loop)
    except ModuleNotFoundError as exc:
        raise SettingsError("event_loop = 'uvloop' is not installed; run: pip install uvloop") from exc
