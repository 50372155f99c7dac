"""Messages that wait to be written to one stream."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

Message = TypeVar("Message")


class Outbox(Generic[Message]):
    """A queue with one consumer. `put` never waits; who must not run ahead of a slow peer awaits `room` afterwards.

    Args:
        limit: messages beyond which `room` makes its caller wait.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._messages: deque[Message] = deque()
        self._filled = asyncio.Event()
        self._spacious = asyncio.Event()
        self._spacious.set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: Message) -> None:
        """Append a message; ignored once closed."""
        if self._closed:
            return
        self._messages.append(message)
        self._filled.set()
        if len(self._messages) >= self._limit:
            self._spacious.clear()

    def withdraw(self, message: Message) -> bool:
        """Take back this very message, if it has not been taken; whether it was still here."""
        for position, waiting in enumerate(self._messages):
            if waiting is message:
                del self._messages[position]
                self._settle()
                return True
        return False

    async def take(self) -> Message | None:
        """The oldest message, waiting for one; None once closed and empty."""
        while not self._messages:
            if self._closed:
                return None
            self._filled.clear()
            await self._filled.wait()
        message = self._messages.popleft()
        self._settle()
        return message

    def pop(self) -> Message | None:
        """The oldest message, or None where none waits."""
        if not self._messages:
            return None
        message = self._messages.popleft()
        self._settle()
        return message

    @property
    def is_full(self) -> bool:
        """Whether `limit` messages or more wait."""
        return len(self._messages) >= self._limit

    async def room(self) -> None:
        """Wait until fewer than `limit` messages wait."""
        if self.is_full:
            await self._spacious.wait()

    def close(self) -> None:
        """Accept no more; what is here can still be taken."""
        self._closed = True
        self._filled.set()

    def _settle(self) -> None:
        if len(self._messages) < self._limit:
            self._spacious.set()
