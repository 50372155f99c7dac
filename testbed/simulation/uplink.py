"""The uplink's queue in simulated time: first in, first out, over a supply, with bytes that can be taken back."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass

from adaptation.values import Route
from testbed.simulation.supply import Supply


@dataclass(slots=True)
class Queued:
    """A message between sender and bottleneck. `start` and `end` are its place on the supply's curve; `delay_s` and
    `tier_s` are its sender's: what follows until the answer, the part of that inside the tier, and its `route`."""

    key: Hashable
    size: float
    ready_s: float
    start: float
    end: float
    leaves_s: float
    delay_s: float = 0.0
    tier_s: float = 0.0
    route: Route = Route.EDGE


class Uplink:
    """Messages leave in order. What has left is forgotten.

    Args:
        supply: what the link offers.
        held_back_bytes: how much of what is unsent lies where it cannot be taken back any more (in a stream's window
            and socket buffers); 0 lets every unsent byte be taken back, infinity none.
    """

    def __init__(self, supply: Supply, held_back_bytes: float) -> None:
        self._supply = supply
        self._held_back_bytes = held_back_bytes
        self._queue: deque[Queued] = deque()
        self._end = 0.0

    def send(self, key: Hashable, size: float, now_s: float) -> Queued:
        """Put a message at the end; `leaves_s` of the answer is when its last byte leaves if nothing is taken back."""
        queue = self._queue
        while queue and queue[0].leaves_s <= now_s:
            queue.popleft()
        message = Queued(key, size, now_s, 0.0, 0.0, 0.0)
        self._book(message)
        queue.append(message)
        return message

    def cancel(self, key: Hashable, now_s: float) -> tuple[float, list[Queued]]:
        """Take back what can be taken back of a message.

        Returns:
            How many of its bytes leave or have left after all, and the messages behind it, which now leave earlier.
        """
        queue = self._queue
        place = next((index for index, message in enumerate(queue) if message.key == key), None)
        if place is None or queue[place].leaves_s <= now_s:
            return float("inf"), []
        message = queue[place]
        served = self._supply.at(now_s)
        sent = min(max(served - message.start, 0.0), message.size)
        if self._held_back_bytes > 0.0:
            if message.start - max(served, queue[0].start) < self._held_back_bytes:
                return message.size, []
            sent = 0.0
        self._end = message.start + sent
        behind = [(queue[index], queue[index].leaves_s) for index in range(place + 1, len(queue))]
        if sent > 0.0:
            message.size, message.end, message.leaves_s = sent, self._end, now_s
        else:
            del queue[place]
        for later, _ in behind:
            self._book(later)
        return sent, [later for later, left_s in behind if later.leaves_s != left_s]

    def left(self, key: Hashable, now_s: float) -> float:
        """How many bytes of a message have left; infinite for one that is not in the queue."""
        served = self._supply.at(now_s)
        return next((min(max(served - m.start, 0.0), m.size) for m in self._queue if m.key == key), float("inf"))

    def shorten(self, key: Hashable, size: float, now_s: float) -> list[Queued]:
        """Take back the end of a message, of which no more than `size` bytes have left.

        Returns:
            It and those behind it, which now leave earlier.
        """
        queue = self._queue
        place = next(index for index, message in enumerate(queue) if message.key == key)
        queue[place].size = size
        changed = [queue[index] for index in range(place, len(queue))]
        self._end = queue[place].end = queue[place].start + size
        queue[place].leaves_s = self._supply.when(queue[place].end)
        for later in changed[1:]:
            self._book(later)
        return changed

    def __iter__(self) -> Iterator[Queued]:
        return iter(self._queue)

    def _book(self, message: Queued) -> None:
        message.start = max(self._end, self._supply.at(message.ready_s))
        message.end = self._end = message.start + message.size
        message.leaves_s = self._supply.when(message.end)
