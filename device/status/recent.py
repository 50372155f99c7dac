"""The last frames that ended, by number and by key."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import asdict
from itertools import islice
from typing import Any

from device.history import FrameRecord


class Recent:
    """Keeps the lines of the last `capacity` frames. Written by the event loop, read from other threads."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lines: OrderedDict[int, FrameRecord] = OrderedDict()
        self._numbers: dict[str, int] = {}

    def add(self, record: FrameRecord) -> None:
        """A frame has ended."""
        self._lines[record.frame] = record
        self._numbers[record.key] = record.frame
        if len(self._lines) > self._capacity:
            number, oldest = self._lines.popitem(last=False)
            if self._numbers.get(oldest.key) == number:
                del self._numbers[oldest.key]

    def find(self, name: str) -> dict[str, Any] | None:
        """The line of a frame, by its number or its key; None where it is not (or no longer) here."""
        number = int(name) if name.isdecimal() else self._numbers.get(name)
        record = None if number is None else self._lines.get(number)
        return None if record is None else asdict(record)

    def last(self, number: int) -> list[dict[str, Any]]:
        """The last ones, the newest first, without their decisions."""
        newest = list(islice(reversed(self._lines.values()), number))
        return [{key: value for key, value in asdict(one).items() if key != "decision"} for one in newest]
