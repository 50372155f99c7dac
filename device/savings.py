"""What prefilter, filter and exits saved, and what they cost."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

from device.endings import NOTHING, UNCHANGED
from device.history import FrameRecord


class Saver(StrEnum):
    """The three that save work."""

    STILL = "still"
    FILTER = "filter"
    EXIT = "exit"


class Savings:
    """Counts over a run. `look` may be called from any one thread for each saver, the rest from the event loop's."""

    def __init__(self) -> None:
        self.looked: Counter[Saver] = Counter()
        """Frames that each was asked about."""
        self.cost_s: dict[Saver, float] = dict.fromkeys(Saver, 0.0)
        """Seconds of asking, whether or not it helped. Of an exit, only those in which its answer was not taken."""
        self.frames: Counter[Saver] = Counter()
        """Frames that each ended."""
        self._sent = self._sent_bytes = 0

    def look(self, saver: Saver, seconds: float) -> None:
        """One was asked about a frame."""
        self.looked[saver] += 1
        self.cost_s[saver] += seconds

    def ended(self, record: FrameRecord) -> None:
        """A frame has ended."""
        if record.message_bytes:
            self._sent += 1
            self._sent_bytes += record.message_bytes
        elif record.reason == UNCHANGED:
            self.frames[Saver.STILL] += 1
        elif record.reason == NOTHING:
            self.frames[Saver.FILTER] += 1
        elif record.exit:
            self.frames[Saver.EXIT] += 1

    def saved_bytes(self, saver: Saver) -> float:
        """By the mean of the frames that were sent; 0 while none was."""
        return self.frames[saver] * self._sent_bytes / self._sent if self._sent else 0.0

    def told(self) -> dict[str, dict[str, float]]:
        """For the status; savers that nobody asked are left out."""
        return {
            str(saver): {
                "looked": self.looked[saver],
                "frames": self.frames[saver],
                "saved_bytes": round(self.saved_bytes(saver)),
                "cost_s": round(self.cost_s[saver], 6),
            }
            for saver in Saver
            if self.looked[saver]
        }
