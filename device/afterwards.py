"""What becomes of a frame after its end: its answer goes to the sinks, and what got none may go to the spool.

A frame leaves the spool only when every sink has its answer, so a kill at any moment costs at most a repeat.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from device.endings import Later, Outcome
from device.errors import SpoolError
from device.frames import OpenFrame
from device.history import Ending, FrameRecord
from device.sinks import Delivery, Outlet, Sink
from device.spool import Spool
from runtime.bundle import Bundle

CLOSING_S = 5.0
"""How long sinks may take for what waits when the agent ends."""

_log = logging.getLogger(__name__)


class Afterwards:
    """Belongs to the event loop's thread; the disk is written from others.

    Args:
        device: the agent's name.
        spool: None keeps nothing.
        keeps: whether an unanswered frame should be kept now, where it could be answered later.
    """

    def __init__(self, device: str, spool: Spool | None, keeps: Callable[[], bool] = lambda: False) -> None:
        self.outlets: list[Outlet] = []
        self.trouble = ""
        """Why the spool failed last; empty when it did not."""
        self.keeps = keeps
        self._device = device
        self._spool = spool
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool")
        self._lock = threading.Lock()
        self._in_hand: set[str] = set()
        """Frames of the spool that are open, or whose answer is on its way to a sink."""
        self._awaited: Counter[str] = Counter()
        """How many sinks still have to take the answer of a frame of the spool."""

    def add(self, sink: Sink, name: str, waiting: int = 1024) -> None:
        """Deliver to this sink too."""
        self.outlets.append(Outlet(sink, name, waiting, delivered=self._delivered, let_go=self._let_go))

    @property
    def sinks_take(self) -> bool:
        """Whether every sink takes answers and has none to speak of waiting."""
        return all(not outlet.trouble and 2 * len(outlet) <= outlet.waiting for outlet in self.outlets)

    def in_hand(self) -> frozenset[str]:
        """Keys of frames that are being answered, or whose answers are being delivered."""
        with self._lock:
            return frozenset(self._in_hand)

    def begun(self, key: str) -> None:
        """A frame that the spool holds is open from here on."""
        with self._lock:
            self._in_hand.add(key)

    def ended(self, bundle: Bundle, frame: OpenFrame, record: FrameRecord, outcome: Outcome) -> None:
        """A frame of this bundle has ended."""
        if outcome.ended is Ending.ANSWERED:
            self._deliver(bundle, frame, record)
        elif self._spool is None:
            return
        elif frame.kept:
            self._not_answered(self._spool, frame, outcome)
        elif outcome.later is Later.PERHAPS and self.keeps():
            keep = partial(self._spool.keep, frame.key, frame.name, frame.image[0], promised=False)
            self._on_disk(keep)

    def close(self) -> None:
        """Let the sinks have what waits, and the disk what is under way. Blocks."""
        for outlet in self.outlets:
            outlet.close(CLOSING_S)
        self._disk.shutdown(wait=True)

    def _deliver(self, bundle: Bundle, frame: OpenFrame, record: FrameRecord) -> None:
        if frame.kept:
            if not self.outlets and self._spool is not None:
                self._on_disk(partial(self._answered, self._spool, frame.key))
                return
            with self._lock:
                self._awaited[frame.key] = len(self.outlets)
        if self.outlets:
            delivery = delivery_of(self._device, bundle, frame, record)
            for outlet in self.outlets:
                outlet.put(delivery)

    def _delivered(self, deliveries: Sequence[Delivery]) -> None:
        """A sink has these; what every sink has leaves the spool."""
        done = []
        with self._lock:
            for delivery in deliveries:
                if delivery.key in self._awaited:
                    self._awaited[delivery.key] -= 1
                    if self._awaited[delivery.key] <= 0:
                        done.append(delivery.key)
        if done and self._spool is not None:
            self._try(partial(self._spool.remove, done))
        for key in done:
            self._let_go(key)

    def _not_answered(self, spool: Spool, frame: OpenFrame, outcome: Outcome) -> None:
        """A frame of the spool: it stays, unless nothing could ever answer it."""
        self._let_go(frame.key)
        if outcome.later is Later.NEVER:
            _log.warning("frame %s leaves the spool unanswered: %s", frame.key, outcome.reason)
            self._on_disk(partial(spool.remove, [frame.key], "refused"))
        elif frame.late:
            self._on_disk(partial(spool.failed, frame.key))

    def _answered(self, spool: Spool, key: str) -> None:
        spool.remove([key])
        self._let_go(key)

    def _let_go(self, key: str) -> None:
        """Nobody is at this frame any more; where it is still in the spool, it is answered again."""
        with self._lock:
            self._in_hand.discard(key)
            self._awaited.pop(key, None)

    def _on_disk(self, work: Callable[[], Any]) -> None:
        self._disk.submit(self._try, work)

    def _try(self, work: Callable[[], Any]) -> None:
        try:
            work()
            self.trouble = ""
        except SpoolError as exc:
            if not self.trouble:
                _log.warning("%s", exc)
            self.trouble = str(exc)


def delivery_of(device: str, bundle: Bundle, frame: OpenFrame, record: FrameRecord) -> Delivery:
    """The answer of a frame as sinks get it."""
    classes, label = bundle.manifest.classes, record.answer
    return Delivery(
        key=frame.key,
        device=device,
        bundle=bundle.digest.hex()[:16],
        source=frame.name,
        captured_at=round(frame.captured_at, 6),
        answered_at=round(time.time(), 6),
        by=str(record.by),
        exit=record.exit,
        route=None if record.route is None else str(record.route),
        cut=record.cut,
        level=record.level,
        label=label,
        name=classes[label] if label is not None and label < len(classes) else None,
        confidence=record.confidence,
        in_time=record.in_time,
        late=frame.late,
    )
