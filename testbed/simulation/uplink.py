"""A link's queue in simulated time: first in, first out, over a supply, with bytes that their sender can take back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from itertools import islice

from adaptation.plan import Route
from testbed.simulation.supply import Supply


@dataclass(slots=True)
class Queued:
    """A message between `sender` and bottleneck. `start` and `end` are its place on the supply's curve; `delay_s`,
    `tier_s` and `answer_bytes` are its sender's: what follows until the answer, the part of that inside the tier, and
    how long the answer is; and its `route`."""

    sender: Uplink
    key: Hashable
    size: float
    ready_s: float
    start: float
    end: float
    leaves_s: float
    delay_s: float = 0.0
    tier_s: float = 0.0
    answer_bytes: float = 0.0
    route: Route = Route.EDGE


class Line:
    """What all senders of a link have before them. What has left is forgotten.

    Args:
        supply: what the link offers.
    """

    def __init__(self, supply: Supply) -> None:
        self.supply = supply
        self.queue: deque[Queued] = deque()
        self.end = 0.0
        """Up to where on the curve bytes are promised."""

    def book(self, message: Queued) -> None:
        """Put it behind all that is promised."""
        message.start = max(self.end, self.supply.at(message.ready_s))
        message.end = self.end = message.start + message.size
        message.leaves_s = self.supply.when(message.end)

    def book_again(self, place: int) -> list[Queued]:
        """Move up all messages from a place of the queue on; those that now leave at another time."""
        before = [(message, message.leaves_s) for message in islice(self.queue, place, None)]
        for message, _ in before:
            self.book(message)
        return [message for message, left_s in before if message.leaves_s != left_s]


def _unheard(message: Queued) -> None:
    """Nobody asks when a message leaves."""


class Uplink:
    """One sender's way onto a line. Messages leave in the order in which they were sent, by whomever.

    Args:
        line: which other senders may share.
        held_back_bytes: how much of what it has not sent yet lies where it cannot be taken back any more (in a stream's
            window and socket buffers); 0 lets every unsent byte be taken back, infinity none.
        moved: hears of its messages that now leave earlier, since somebody has taken bytes back.
    """

    def __init__(self, line: Line, held_back_bytes: float, moved: Callable[[Queued], None] = _unheard) -> None:
        self._line = line
        self._held_back_bytes = held_back_bytes
        self._moved = moved

    def send(self, key: Hashable, size: float, now_s: float) -> Queued:
        """Put a message at the end; `leaves_s` of the answer is when its last byte leaves if nothing is taken back."""
        queue = self._line.queue
        while queue and queue[0].leaves_s <= now_s:
            queue.popleft()
        message = Queued(self, key, size, now_s, 0.0, 0.0, 0.0)
        self._line.book(message)
        queue.append(message)
        return message

    def cancel(self, key: Hashable, now_s: float) -> float:
        """Take back what can be taken back of a message; gives how many of its bytes leave or have left after all.

        Infinite for one that has left.
        """
        line = self._line
        place = self._place(key)
        if place is None or line.queue[place].leaves_s <= now_s:
            return float("inf")
        message = line.queue[place]
        served = line.supply.at(now_s)
        sent = min(max(served - message.start, 0.0), message.size)
        if self._held_back_bytes > 0.0:
            if self._unsent(place, served) < self._held_back_bytes:
                return message.size
            sent = 0.0
        line.end = message.start + sent
        if sent > 0.0:
            message.size, message.end, message.leaves_s = sent, line.end, now_s
            place += 1
        else:
            del line.queue[place]
        self._tell(line.book_again(place))
        return sent

    def left(self, key: Hashable, now_s: float) -> float:
        """How many bytes of a message have left; infinite for one that is not in the queue."""
        place = self._place(key)
        if place is None:
            return float("inf")
        message = self._line.queue[place]
        return min(max(self._line.supply.at(now_s) - message.start, 0.0), message.size)

    def shorten(self, key: Hashable, size: float, now_s: float) -> None:
        """Take back the end of a message that is in the queue, of which no more than `size` bytes have left."""
        line, place = self._line, self._place(key)
        assert place is not None
        message = line.queue[place]
        message.size = size
        message.end = line.end = message.start + size
        message.leaves_s = line.supply.when(message.end)
        self._tell([message, *line.book_again(place + 1)])

    def _place(self, key: Hashable) -> int | None:
        """Of one's own message in the queue."""
        for place, message in enumerate(self._line.queue):
            if message.key == key and message.sender is self:
                return place
        return None

    def _unsent(self, place: int, served: float) -> float:
        """Bytes of this sender that wait before a place of the queue."""
        ahead = (message for message in islice(self._line.queue, place) if message.sender is self)
        return sum(max(message.end - max(message.start, served), 0.0) for message in ahead)

    @staticmethod
    def _tell(messages: list[Queued]) -> None:
        for message in messages:
            message.sender._moved(message)
