"""The edge as a program."""

from __future__ import annotations

import asyncio

from edge.settings import Settings
from serving.program import run_tier


async def run(settings: Settings, *, stop: asyncio.Event | None = None) -> None:
    """Serve until `stop` is set, or without it until SIGINT or SIGTERM; then drain and return.

    Raises:
        IsthmusError: the program cannot start; one sentence for a person.
    """
    relay = settings.relay
    await run_tier(
        "edge",
        settings,
        above=settings.above,
        relay=None if relay is None else relay.build,
        stop=stop,
    )
