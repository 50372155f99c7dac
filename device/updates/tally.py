"""Counts of frames for each bundle that this run has had, as a control plane compares them. See docs/fleet.md."""

from __future__ import annotations

import csv
import math
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from device.endings import Later, Outcome
from device.errors import SourceError
from device.frames import OpenFrame
from device.history import Ending, FrameRecord
from runtime.bundle import Bundle

BUNDLES: Final = 8
"""Of so many bundles counts are kept."""
LAST: Final = 200
"""Latencies of so many answers are kept for people to look at."""
REASONS: Final = 10
_STEPS_PER_OCTAVE: Final = 4
_BUCKETS: Final = 65


@dataclass(slots=True)
class Counts:
    """Of one bundle; they only grow."""

    frames: int = 0
    answered: int = 0
    in_time: int = 0
    failed: int = 0
    known: int = 0
    right: int = 0
    latency: Counter[int] = field(default_factory=Counter)

    def told(self) -> dict[str, Any]:
        """As the control plane takes it."""
        names = ("frames", "answered", "in_time", "failed", "known", "right")
        return {name: getattr(self, name) for name in names} | {"latency": dict(self.latency)}


class Tally:
    """Written by the event loop, which is also where it is read.

    Args:
        labels: right answers by name of the source's item.
    """

    def __init__(self, labels: Mapping[str, int]) -> None:
        self._labels = labels
        self._counts: OrderedDict[str, Counts] = OrderedDict()
        self._reasons: Counter[str] = Counter()
        self._latencies: deque[float] = deque(maxlen=LAST)
        self.last: FrameRecord | None = None
        """The frame that was answered last."""

    def note(self, bundle: Bundle, frame: OpenFrame, record: FrameRecord, outcome: Outcome) -> None:
        """A frame has ended. Late ones and those that the end of the run cut off say nothing about a bundle."""
        if record.late or record.reason == "agent stopped":
            return
        counts = self._of(bundle.digest.hex())
        counts.frames += 1
        counts.in_time += record.in_time
        if record.ended is Ending.ANSWERED:
            self._answered(counts, record)
            return
        counts.failed += record.ended is Ending.DROPPED and outcome.later is Later.NEVER and frame.choice is not None
        self._reasons[f"{record.ended}: {record.reason}"[:200]] += 1
        if len(self._reasons) > 10 * REASONS:
            self._reasons = Counter(dict(self._reasons.most_common(REASONS)))

    def counts(self) -> dict[str, dict[str, Any]]:
        """By digest."""
        return {digest: counts.told() for digest, counts in self._counts.items()}

    def reasons(self) -> dict[str, int]:
        """Why frames had no answer, the most frequent reasons."""
        return dict(self._reasons.most_common(REASONS))

    def latency_s(self, share: float) -> float | None:
        """A quantile of the last answers."""
        ordered = sorted(self._latencies)
        return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else None

    def _answered(self, counts: Counts, record: FrameRecord) -> None:
        counts.answered += 1
        counts.latency[bucket_of(record.latency_s)] += 1
        label = self._labels.get(record.source)
        if label is not None:
            counts.known += 1
            counts.right += record.answer == label
        self._latencies.append(record.latency_s)
        self.last = record

    def _of(self, digest: str) -> Counts:
        found = self._counts.setdefault(digest, Counts())
        self._counts.move_to_end(digest)
        if len(self._counts) > BUNDLES:
            self._counts.popitem(last=False)
        return found


def bucket_of(latency_s: float) -> int:
    """Bucket k holds latencies of at most 2^(k/4) ms and more than bucket k-1; 64 holds all that are longer."""
    if latency_s <= 1e-3:
        return 0
    return min(_BUCKETS - 1, math.ceil(_STEPS_PER_OCTAVE * math.log2(latency_s * 1e3)))


def labels_in(path: Path | None) -> dict[str, int]:
    """Right answers by name, from lines `file,label`.

    Raises:
        SourceError: the file cannot be read, or a line is none of these.
    """
    if path is None:
        return {}
    try:
        with path.open(newline="") as file:
            return {name: int(label) for name, label in csv.reader(file)}
    except (OSError, ValueError) as exc:
        raise SourceError(f"updates.control.labels {str(path)!r} has no lines `file,label`: {exc}; correct it") from exc
