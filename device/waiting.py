"""Where a captured frame waits for the device: a slot of one, or a bounded queue."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, Protocol, TypeVar

Item = TypeVar("Item")


class WaitingRoom(Protocol[Item]):
    """Holds what waits. `offer` says what has to go, with the reason."""

    def __len__(self) -> int:
        """How many wait."""

    def offer(self, item: Item) -> tuple[Item, str] | None:
        """Let an item in; returns the item that found no place, which may be this one."""

    def take(self) -> Item | None:
        """The next item, or None where nothing waits."""

    def instead_of(self, item: Item) -> Item:
        """What to go on with after `item`, which was taken, has had to wait."""

    def remove(self, item: Item) -> None:
        """Forget an item, if it is here."""

    async def arrival(self) -> None:
        """Return as soon as something waits."""


class Latest(Generic[Item]):
    """A slot of one: a newer item replaces the one that waits."""

    def __init__(self) -> None:
        self._item: Item | None = None
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return int(self._item is not None)

    def offer(self, item: Item) -> tuple[Item, str] | None:
        replaced, self._item = self._item, item
        self._filled.set()
        return None if replaced is None else (replaced, "a newer frame replaced it")

    def take(self) -> Item | None:
        item, self._item = self._item, None
        self._filled.clear()
        return item

    def instead_of(self, item: Item) -> Item:
        newer = self.take()
        return item if newer is None else newer

    def remove(self, item: Item) -> None:
        if self._item is item:
            self.take()

    async def arrival(self) -> None:
        await self._filled.wait()


class Everything(Generic[Item]):
    """A queue of at most `capacity` items: one that comes when it is full is turned away."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._items: deque[Item] = deque()
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._items)

    def offer(self, item: Item) -> tuple[Item, str] | None:
        if len(self._items) >= self._capacity:
            return item, f"{self._capacity} frames were already waiting"
        self._items.append(item)
        self._filled.set()
        return None

    def take(self) -> Item | None:
        item = self._items.popleft() if self._items else None
        if not self._items:
            self._filled.clear()
        return item

    def instead_of(self, item: Item) -> Item:
        return item

    def remove(self, item: Item) -> None:
        if item in self._items:
            self._items.remove(item)
        if not self._items:
            self._filled.clear()

    async def arrival(self) -> None:
        await self._filled.wait()
