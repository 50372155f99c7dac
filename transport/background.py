"""Tasks that run as long as their owner does."""

from __future__ import annotations

import asyncio


async def ended(task: asyncio.Task[None] | None) -> None:
    """Return when a task was cancelled, or where there is none; raise what broke it, which is a defect."""
    if task is None:
        return
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
