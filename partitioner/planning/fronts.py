"""What else could be chosen: the Pareto set of the enumerated cuts, and the link rates between which a cut is best."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from partitioner.errors import InvalidSetting
from partitioner.planning.dominance import undominated
from partitioner.planning.figures import Tiers
from partitioner.planning.network import Setting
from partitioner.planning.plan import Planner


@dataclass(frozen=True, slots=True)
class Point:
    """One cut of the Pareto set: no other is as good in every figure and better in one."""

    tiers: tuple[int, ...]
    figures: tuple[float, float]
    """In the order that was asked for."""


def pareto(planner: Planner, first: str, second: str) -> list[Point]:
    """The enumerated cuts that no other beats in two additive figures, by the first; both are made small.

    The best cut of each figure over all assignments, prefix or not, is among the candidates. A third figure is a
    budget: plan with it.
    """
    names = (first, second)
    tables = [planner.prefixes.table(planner.figures[name]) for name in names]
    possible = np.isfinite(tables[0])
    places = np.argwhere(possible)
    bests = [planner.cheapest(planner.figures[name]) for name in names]
    extra = [[planner.value(planner.figures[name], tiers) for name in names] for tiers in bests]
    values = np.concatenate([np.stack([table[possible] for table in tables], axis=1), np.array(extra)])
    points = []
    for index in undominated(values):
        own = index >= len(places)
        tiers = bests[index - len(places)] if own else planner.prefixes.tiers_at(tuple(map(int, places[index])))
        points.append(Point(tuple(map(int, tiers)), (float(values[index, 0]), float(values[index, 1]))))
    return points


@dataclass(frozen=True, slots=True)
class Interval:
    """Link rates between which one assignment has the lowest latency."""

    low_bps: float
    high_bps: float
    tiers: tuple[int, ...]
    crossing_bytes: float


def best_between(setting: Setting, boundary: int, low_bps: float, high_bps: float) -> list[Interval]:
    """Which assignment is fastest at which rate of one link, the way up; slowest rates first.

    Latency is linear in 1 / rate, so the best latency is the lower envelope of one line per assignment. Lines are found
    by minimum cuts where known ones meet (Eisner and Severance, 1976): exact over all assignments, not only the
    enumerated ones. The way back keeps its rate.

    Raises:
        InvalidSetting: no such link, or rates that are no interval.
    """
    if not 0 <= boundary < setting.boundaries or not 0 < low_bps < high_bps:
        raise InvalidSetting(f"link {boundary} between {low_bps:g} and {high_bps:g} bit/s is no link with an interval")
    ends = [_line_at(setting, boundary, rate) for rate in (high_bps, low_bps)]
    lines = [ends[0], *_between(setting, boundary, ends[0], ends[1]), ends[1]]
    distinct = [line for number, line in enumerate(lines) if number == 0 or line.bytes != lines[number - 1].bytes]
    intervals = []
    high = high_bps
    for line, following in zip(distinct, [*distinct[1:], None], strict=True):
        low = low_bps if following is None else 8 / _meeting(line, following)
        intervals.append(Interval(low, high, tuple(map(int, line.tiers)), line.bytes))
        high = low
    return intervals[::-1]


@dataclass(frozen=True, eq=False)
class _Line:
    """Latency of one assignment: seconds + bytes * (8 / rate)."""

    tiers: Tiers
    seconds: float
    bytes: float

    def at(self, per_byte: float) -> float:
        return self.seconds + self.bytes * per_byte


def _line_at(setting: Setting, boundary: int, rate_bps: float) -> _Line:
    links = list(setting.links)
    down_bps = links[boundary].rate_bps if links[boundary].down_bps is None else links[boundary].down_bps
    links[boundary] = replace(links[boundary], rate_bps=rate_bps, down_bps=down_bps)
    planner = Planner(replace(setting, links=tuple(links)))
    tiers = planner.cheapest(planner.figures["latency_s"])
    upward = replace(planner.figures["bytes"], tensor=planner.figures["bytes"].tensor.copy())
    upward.tensor[:, [other for other in range(setting.boundaries) if other != boundary]] = 0.0
    sent = planner.value(upward, tiers)
    return _Line(tiers, planner.value(planner.figures["latency_s"], tiers) - sent * 8 / rate_bps, sent)


def _meeting(one: _Line, other: _Line) -> float:
    """Seconds per byte at which two lines are equal."""
    return (one.seconds - other.seconds) / (other.bytes - one.bytes)


def _between(setting: Setting, boundary: int, fast: _Line, slow: _Line) -> list[_Line]:
    if fast.bytes <= slow.bytes:
        return []
    per_byte = _meeting(fast, slow)
    found = _line_at(setting, boundary, 8 / per_byte)
    if found.at(per_byte) >= fast.at(per_byte) * (1 - 1e-9) or not slow.bytes < found.bytes < fast.bytes:
        return []
    return [*_between(setting, boundary, fast, found), found, *_between(setting, boundary, found, slow)]
