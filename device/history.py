"""The history of a run: one JSON line for each frame, written when the frame ends.

Each line goes straight to the operating system, so that a process killed at any time has left every frame that ended.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from enum import StrEnum
from io import RawIOBase
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from device.errors import EndedTwice, HistoryError
from device.sole import hold

_log = logging.getLogger(__name__)


class Ending(StrEnum):
    """The three ways in which a frame ends."""

    ANSWERED = "answered"
    EXPIRED = "expired"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRecord:
    """One frame from capture to end. Field names are the keys of its line; see docs/device.md."""

    frame: int
    captured_s: float
    """Since the start of the run, monotonic."""
    ended: Ending
    by: str | None = None
    """"device", "edge" or "cloud" where answered."""
    route: str | None = None
    reason: str = ""
    cut: int | None = None
    level: int | None = None
    front_of: int | None = None
    """The level that was sent, where its payload was cut short on the way: `level` then is what is left of it."""
    exit: bool = False
    payload_bytes: int = 0
    message_bytes: int = 0
    latency_s: float
    """From capture to end."""
    deadline_s: float
    """Allowed from capture to end."""
    in_time: bool
    answer: int | None = None
    confidence: float | None = None
    device_s: float = 0.0
    """Head, exit and encoding on this device, stretched."""
    hedge_s: float = 0.0
    """The part of `device_s` that was spent on going on locally while a tier's answer was awaited."""
    tier_s: float = 0.0
    """Inside the answering tier."""
    network_s: float = 0.0
    """Between sending and receiving, less `tier_s`."""
    decision: dict[str, Any] | None = None
    """What was known when it was decided, and what the choices promised; see `adaptation.explaining`."""
    source: str = ""
    """Name of the source's item."""
    key: str = ""
    """Stable name of the frame; sinks and spool use it too."""
    late: bool = False
    """Whether it came from the spool; then all times count from when it was taken out."""


class History:
    """Writes the lines, counts the endings, and refuses to end a frame twice.

    Args:
        path: the file, replaced if it exists; None keeps only the counts.

    Raises:
        HistoryError: the file cannot be created.
    """

    def __init__(self, path: Path | None) -> None:
        self.endings: Counter[Ending] = Counter()
        self.in_time = 0
        self.begun = 0
        self._open: set[int] = set()
        self.trouble = ""
        """Why lines are no longer written; empty while they are."""
        self._path = path
        self._file = None if path is None else _create(path)

    @property
    def open_frames(self) -> frozenset[int]:
        """Frames that have begun and not ended."""
        return frozenset(self._open)

    @property
    def written(self) -> bool:
        """Whether anybody will read what is noted here."""
        return self._file is not None

    def begin(self, frame: int) -> None:
        """A frame was captured: from here on it has to end."""
        if frame in self._open:
            raise EndedTwice(f"frame {frame} began twice; this is a bug of the agent, please report it")
        self._open.add(frame)
        self.begun += 1

    def end(self, record: FrameRecord) -> None:
        """Write the frame's line; it has left this process when this returns.

        A line that cannot be written (the disk is full, for example) is the last that is tried: `trouble` says why, and
        frames go on being answered and counted.

        Raises:
            EndedTwice: the frame is not open.
        """
        if record.frame not in self._open:
            raise EndedTwice(
                f"frame {record.frame} has already ended or never began; this is a bug of the agent, please report it"
            )
        self._open.remove(record.frame)
        if self._file is not None:
            try:
                self._write(self._file, json.dumps(_rounded(record), separators=(",", ":")))
            except HistoryError as exc:
                self.give_up(exc)
        self.endings[record.ended] += 1
        self.in_time += record.in_time

    def give_up(self, error: HistoryError) -> None:
        """Write no more, and say why."""
        self.trouble = str(error)
        _log.error("%s; frames are answered without a history from here on", error)
        self.close()

    def close(self) -> None:
        """Close the file; further ends are only counted."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, file: RawIOBase, line: str) -> None:
        data = line.encode() + b"\n"
        try:
            written = file.write(data)
        except OSError as exc:
            raise HistoryError(f"history {str(self._path)!r} cannot be written: {exc}; set another path") from exc
        if written != len(data):
            raise HistoryError(f"history {str(self._path)!r} took half a line: its disk is full; set another path")


def _create(path: Path) -> RawIOBase:
    """An unbuffered file: what is written has left this process."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as opening:
            file = opening.enter_context(path.open("ab", buffering=0))
            hold(file.fileno())
            if path.is_file():
                file.truncate(0)
            opening.pop_all()
        return file
    except OSError as exc:
        raise HistoryError(f"history {str(path)!r} cannot be created: {exc}; set another history.path") from exc


def _rounded(record: FrameRecord) -> dict[str, object]:
    """Plain values, seconds to the microsecond."""
    return {key: round(value, 6) if isinstance(value, float) else value for key, value in asdict(record).items()}
