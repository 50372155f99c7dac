"""One sink's queue and thread: what waits, what is tried again, and what is told when it has arrived."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence

from device.errors import SinkError
from device.sinks.sink import Delivery, Sink

BATCH = 256
"""Answers handed over at once, at most."""
REST_S = (0.2, 10.0)
"""Between attempts at a sink that fails: the first, doubling up to the last."""

_log = logging.getLogger(__name__)


class Outlet:
    """Hands answers to a sink in a thread of its own, so that a slow one holds up nobody.

    At most `waiting` answers wait; beyond that the oldest is let go and counted, for a sink that has been away for long
    should begin with what is new. (An answer whose frame lies in the spool is not lost: it was not delivered, so the
    frame stays there.)

    Args:
        sink: closed by `close`.
        name: for logs and metrics.
        waiting: bound of the queue.
        delivered: called in the outlet's thread with answers that have arrived.
        let_go: called with the key of an answer that will not be delivered.
    """

    def __init__(
        self,
        sink: Sink,
        name: str,
        waiting: int,
        *,
        delivered: Callable[[Sequence[Delivery]], None] = lambda _: None,
        let_go: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.name = name
        self.delivered = 0
        self.lost = 0
        self.waiting = waiting
        self.trouble = ""
        """Why the last attempt failed; empty when it did not."""
        self._sink = sink
        self._on_delivered = delivered
        self._on_let_go = let_go
        self._queue: deque[Delivery] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"sink {name}", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, delivery: Delivery) -> None:
        """Queue an answer; never waits."""
        oldest = None
        with self._changed:
            if len(self._queue) >= self.waiting:
                oldest = self._queue.popleft()
                self.lost += 1
            self._queue.append(delivery)
            self._changed.notify()
        if oldest is not None:
            self._on_let_go(oldest.key)

    def close(self, grace_s: float) -> None:
        """Deliver what waits, for at most so long, and close the sink."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(grace_s)
        if self._thread.is_alive() or self._queue:
            _log.warning("sink %s: %d answers were not delivered: %s", self.name, len(self._queue), self.trouble)
        if not self._thread.is_alive():
            self._sink.close()

    def _run(self) -> None:
        rest_s = REST_S[0]
        while (batch := self._next()) is not None:
            try:
                self._sink.put(batch)
            except SinkError as exc:
                if not self.trouble:
                    _log.warning("sink %s: %s", self.name, exc)
                self.trouble = str(exc)
                if self._rest(rest_s):
                    return
                rest_s = min(2 * rest_s, REST_S[1])
                continue
            self.trouble, rest_s = "", REST_S[0]
            self._arrived(batch)

    def _next(self) -> list[Delivery] | None:
        """What to try next; stays queued until it has arrived. None when all is done."""
        with self._changed:
            while not self._queue:
                if self._closing:
                    return None
                self._changed.wait()
            return [self._queue[index] for index in range(min(BATCH, len(self._queue)))]

    def _arrived(self, batch: Sequence[Delivery]) -> None:
        with self._changed:
            for delivery in batch:
                if self._queue and self._queue[0] is delivery:
                    self._queue.popleft()
        self.delivered += len(batch)
        self._on_delivered(batch)

    def _rest(self, seconds: float) -> bool:
        """Wait before the next attempt; whether to give up because nobody waits any more."""
        with self._changed:
            if not self._closing:
                self._changed.wait_for(lambda: self._closing, seconds)
            return self._closing
