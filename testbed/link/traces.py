"""Recorded links in the packet-delivery format of Mahimahi (Netravali et al., USENIX ATC 2015).

Each line of a trace is a time in whole milliseconds at which one packet of 1500 bytes can be delivered; a time may
stand on several lines, and times never decrease. At its end the trace starts again. A chance that nothing waits for
is lost, and one chance may carry several small packets, as in Mahimahi's own link shell.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from testbed.errors import TraceError
from testbed.link.capacity import PACKET_BYTES

_SMALLER_THAN_A_LINE_S = 1e-9


class Opportunities:
    """A link that offers packets of 1500 bytes at given times, over and over.

    Args:
        times_s: float64, [opportunities], non-decreasing, each in [0, period_s], at least one.
        period_s: after this long the times start again, > 0.
    """

    def __init__(self, times_s: NDArray[np.float64], period_s: float) -> None:
        self._times_s = times_s
        self._period_s = period_s
        self._next = 0  # the opportunity that is being filled, counted through all rounds
        self._left = PACKET_BYTES

    @property
    def period_s(self) -> float:
        """Seconds after which the link repeats itself."""
        return self._period_s

    def book(self, ready_s: float, size: int) -> float:
        if self._time(self._next) < ready_s:
            self._next = self._first_at(ready_s)
            self._left = PACKET_BYTES
        finish = max(ready_s, self._time(self._next))
        while size > 0:
            finish = self._time(self._next)
            taken = min(size, self._left)
            size -= taken
            self._left -= taken
            if self._left == 0:
                self._next += 1
                self._left = PACKET_BYTES
        return finish

    def offered_bytes(self, from_s: float, to_s: float) -> float:
        return float((self._first_at(to_s) - self._first_at(from_s)) * PACKET_BYTES)

    def _time(self, index: int) -> float:
        rounds, within = divmod(index, len(self._times_s))
        return rounds * self._period_s + float(self._times_s[within])

    def _first_at(self, at_s: float) -> int:
        """The first opportunity at or after a time."""
        rounds = max(math.floor(at_s / self._period_s), 0)
        if rounds and at_s <= (rounds - 1) * self._period_s + float(self._times_s[-1]) + _SMALLER_THAN_A_LINE_S:
            rounds -= 1  # a time equal to the period still belongs to the round before
        within = np.searchsorted(self._times_s, at_s - rounds * self._period_s - _SMALLER_THAN_A_LINE_S)
        return rounds * len(self._times_s) + int(within)


def read_trace(path: Path, *, from_s: float = 0.0, to_s: float | None = None) -> Opportunities:
    """Read a Mahimahi trace, or the window [from_s, to_s) of it moved to start at 0.

    Raises:
        TraceError: the file is missing, empty or malformed, or the window holds no opportunity.
    """
    times_ms = _times(path)
    last_ms = int(times_ms[-1])
    if from_s == 0 and to_s is None:
        return Opportunities(times_ms / 1000.0, last_ms / 1000.0)
    end_s = last_ms / 1000.0 if to_s is None else to_s
    if not 0 <= from_s < end_s or end_s * 1000 > last_ms:
        raise TraceError(
            f"trace {str(path)!r} has no window from {from_s:g} s to {end_s:g} s: it lasts {last_ms / 1000:g} s; "
            f"choose 0 <= from_s < to_s <= {last_ms / 1000:g}"
        )
    inside = times_ms[(times_ms >= from_s * 1000) & (times_ms < end_s * 1000)]
    if not len(inside):
        raise TraceError(
            f"trace {str(path)!r} offers nothing from {from_s:g} s to {end_s:g} s, so bytes would wait for ever; "
            "choose a longer window"
        )
    return Opportunities(inside / 1000.0 - from_s, end_s - from_s)


def _times(path: Path) -> NDArray[np.int64]:
    """All times of a trace in milliseconds, checked."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except FileNotFoundError as exc:
        raise TraceError(f"there is no trace file {str(path)!r}; check the path") from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise TraceError(f"trace {str(path)!r} cannot be read as text: {exc}; give a Mahimahi trace") from exc
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise TraceError(f"trace {str(path)!r} is empty; it needs one line per packet, each a time in milliseconds")
    for number, line in enumerate(lines, start=1):
        if not line.strip().isdecimal() or len(line.strip()) > 15:
            raise TraceError(
                f"trace {str(path)!r}, line {number}: {line[:40]!r} is no time; write a whole number of milliseconds"
            )
    times = np.array([int(line) for line in lines], dtype=np.int64)
    backward = np.flatnonzero(np.diff(times) < 0)
    if len(backward):
        number = int(backward[0]) + 2
        raise TraceError(
            f"trace {str(path)!r}, line {number}: {times[number - 1]} comes after {times[number - 2]}; "
            "times must not decrease, so sort the file"
        )
    if times[-1] == 0:
        raise TraceError(
            f"trace {str(path)!r}, line {len(lines)}: the last time is 0, so the trace lasts no time; "
            "end it with a time after 0"
        )
    return times
