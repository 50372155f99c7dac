"""What the link really was: its own count of delivered bytes, every 100 ms, as JSON lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO

from testbed.errors import TestbedError
from testbed.link.emulator import Totals

PERIOD_S = 0.1


class Record:
    """Writes a line for each period since the start, and a first line with the moment of the start.

    Args:
        path: the file, replaced if it exists; None writes nothing.

    Raises:
        TestbedError: the file cannot be created.
    """

    def __init__(self, path: Path | None) -> None:
        self._file = None if path is None else _create(path)
        self._start_s = 0.0
        self._number = 0
        self._before = Totals(0, 0, 0, 0)

    def start(self, now_s: float, totals: Totals) -> None:
        """The link starts to move now (seconds of the monotonic clock, which processes of one machine share)."""
        self._start_s = now_s
        self._before = totals
        self._write({"event": "start", "monotonic_s": round(now_s, 6), "period_s": PERIOD_S})

    @property
    def next_s(self) -> float:
        """When the next line is due."""
        return self._start_s + (self._number + 1) * PERIOD_S

    def line(self, totals: Totals) -> None:
        """Write the line that is due: bytes handed over in this period, and what waits at its end."""
        self._number += 1
        self._write(
            {
                "at_s": round(self._number * PERIOD_S, 6),
                "up_bytes": totals.up_bytes - self._before.up_bytes,
                "down_bytes": totals.down_bytes - self._before.down_bytes,
                "up_queued_bytes": totals.up_queued_bytes,
                "down_queued_bytes": totals.down_queued_bytes,
            }
        )
        self._before = totals

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, line: dict[str, object]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
            self._file.flush()


def _create(path: Path) -> IO[str]:
    try:
        return path.open("w", encoding="utf-8")
    except OSError as exc:
        raise TestbedError(
            f"the link's record {str(path)!r} cannot be created: {exc.strerror}; set record.path to a file that can"
        ) from exc
