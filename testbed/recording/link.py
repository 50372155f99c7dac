"""The uplink that a history tells of.

A device that decides notes what it believes of its link: the median rate, and the round trip of each route without
queueing. Beliefs lag behind the link by about an answer's time, so each moment takes the belief of a moment later.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from testbed.link.capacity import PACKET_BYTES, Steps
from testbed.recording.errors import RecordingError

Line = Mapping[str, Any]

BIN_S: Final = 0.25
"""Resolution of the recorded rates."""
LAG_S: Final = 0.1
ALIKE: Final = 0.1
"""Neighbouring rates that differ by less are one."""
DEAD_BPS: Final = 1000.0
"""A link believed to carry less carries nothing."""


@dataclass(frozen=True, slots=True)
class RecordedLink:
    """Attributes:
    steps: (seconds, bit/s) of the uplink from the first capture on; 0 is dead.
    round_trip_s: by route, without queueing and without the tier's time.
    """

    steps: tuple[tuple[float, float], ...]
    round_trip_s: Mapping[str, float]


def link_of(lines: Sequence[Line], seconds: float) -> RecordedLink:
    """The link behind these lines, whose times count from the first capture.

    Raises:
        RecordingError: no decision of them was made with a belief about the link.
    """
    believed = [
        (float(line["captured_s"]), line["decision"]["link"])
        for line in lines
        if line.get("decision") and line["decision"].get("link")
    ]
    if not believed:
        raise RecordingError(
            "no line of this history has a decision with a belief about the link; let the device decide by itself "
            "(any policy but 'fixed'), with [history] path set"
        )
    ways: dict[str, list[float]] = {}
    for _, link in believed:
        for route, round_trip_s in link["round_trip_s"].items():
            ways.setdefault(route, []).append(round_trip_s)
    nearest = {route: statistics.median(found) for route, found in ways.items()}
    return RecordedLink(tuple(_merged(_rates(believed, seconds))), nearest)


def packet_times_ms(steps: Sequence[tuple[float, float]]) -> list[int]:
    """The same link as Mahimahi writes it: a time for each packet of 1500 bytes that it could have carried."""
    capacity, times = Steps([*steps, (1.0, 0.0)]), list[int]()
    whole_s = sum(seconds for seconds, _ in steps)
    while (at_s := capacity.book(0.0, PACKET_BYTES)) <= whole_s:
        times.append(max(round(at_s * 1000), 1))
    return times


def _rates(believed: Sequence[tuple[float, Line]], seconds: float) -> Iterator[float]:
    """One rate for each bin; a bin without a belief is as the one before it."""
    rate_bps = _rate(believed[0][1])
    for number in range(max(round(seconds / BIN_S), 1)):
        from_s = number * BIN_S + LAG_S
        found = [_rate(link) for at_s, link in believed if from_s <= at_s < from_s + BIN_S]
        rate_bps = statistics.median_low(found) if found else rate_bps
        yield rate_bps


def _rate(link: Line) -> float:
    median_bps = float(link["rate_bps"][1])
    return median_bps if median_bps >= DEAD_BPS and link["alive"] >= 0.5 else 0.0


def _merged(rates: Iterator[float]) -> list[tuple[float, float]]:
    steps: list[tuple[float, float]] = []
    for rate_bps in rates:
        if steps and abs(rate_bps - steps[-1][1]) <= ALIKE * steps[-1][1]:
            steps[-1] = (steps[-1][0] + BIN_S, steps[-1][1])
        else:
            steps.append((BIN_S, rate_bps))
    return steps
