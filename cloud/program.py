"""The cloud as a program."""

from __future__ import annotations

import asyncio

from cloud.settings import Settings
from serving.program import run_tier


async def run(settings: Settings, *, stop: asyncio.Event | None = None) -> None:
    """Serve until `stop` is set, or without it until SIGINT or SIGTERM; then drain and return.

    Raises:
        IsthmusError: the program cannot start; one sentence for a person.
    """
    await run_tier("cloud", settings, ray=settings.ray, stop=stop)
