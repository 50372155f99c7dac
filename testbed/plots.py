"""The report's plots as SVG text. Colours come from the page's style sheet, so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

import numpy as np

from testbed.figures import RunRecord, in_time, latency_of
from testbed.link.record import PERIOD_S
from testbed.link.settings import DirectionSettings
from testbed.results.intervals import Interval

LEFT, RIGHT = 46, 10
"""Pixels beside a plot's area, for its labels."""

PANEL_HEIGHT = 92
LINK_HEIGHT = 104
MARK_HEIGHT = 20
_MOST_LANES = 10
_LOWEST_POWER = 4
"""The link's axis starts at 10 kbit/s at the lowest."""
_DEAD_S = 0.3
"""A link that offers nothing for so long is drawn as dead."""

Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear or logarithmic map from values to pixels."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        value = min(max(value, min(low, high)), max(low, high))
        if self.logarithmic:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return round(self.start + (value - low) / (high - low) * (self.end - self.start), 1)


Mark = tuple[float, float, str]
"""(begin and end in seconds since the link started, what happened)"""


def timeline(records: Sequence[RunRecord], width: int, marks: Sequence[Mark] = ()) -> str:
    """The link's capacity, and under it the latency of every frame, one panel for each alternative.

    Args:
        marks: what went wrong besides the link, drawn under the capacity on a line of its own each.
    """
    setting = records[0].setting
    across = Scale(0, max(setting.duration_s, 1.0), LEFT, width - RIGHT)
    bins = _offered(setting.uplink, across.high)
    height = 24 + LINK_HEIGHT + 10 + len(marks) * MARK_HEIGHT + len(records) * (PANEL_HEIGHT + 30) + 44
    parts = [_link_panel(bins, records[-1], across, 24)]
    top = 24 + LINK_HEIGHT + 12
    for mark in marks:
        parts.append(_mark(mark, across, top))
        top += MARK_HEIGHT
    top += 28
    ceiling_s = _ceiling_s(records)
    for record in records:
        parts.append(_latency_panel(record, bins, across, top, ceiling_s))
        top += PANEL_HEIGHT + 30
    parts.append(_time_axis(across, top - 30))
    return _svg(width, height, "Latency of every frame under the capacity of the link", parts)


def choices(record: RunRecord, width: int) -> str:
    """Which cut, level and tier each frame of a run took: one lane for each choice, in order of cut."""
    across = Scale(0, max(record.setting.duration_s, 1.0), LEFT, width - RIGHT)
    lanes: dict[tuple[int, int, str], list[Line]] = {}
    for line in record.history:
        if line["route"] is not None and line["cut"] is not None:
            level = -1 if line["level"] is None else line["level"]
            lanes.setdefault((line["cut"], level, line["route"]), []).append(line)
    kept = sorted(sorted(lanes, key=lambda lane: -len(lanes[lane]))[:_MOST_LANES])
    hidden = sum(len(lines) for lane, lines in lanes.items() if lane not in kept)
    parts = []
    top = 18
    for lane in kept:
        parts.append(_lane(lane, lanes[lane], record, across, top))
        top += 34
    if hidden:
        parts.append(_text(LEFT, top, f"{hidden} more frames took {len(lanes) - len(kept)} rarer choices, not drawn"))
        top += 20
    parts.append(_time_axis(across, top - 8))
    return _svg(width, top + 30, f"Choices of {record.alternative.name} over time", parts)


def distribution(records: Sequence[RunRecord], width: int) -> str:
    """Share of all captured frames that were answered within a time."""
    height = 250
    deadline_s = records[0].setting.deadline_s
    across = Scale(0, _ceiling_s(records), LEFT, width - RIGHT)
    up = Scale(0, 1, height - 40, 14)
    parts = [_grid(up, [0, 0.25, 0.5, 0.75, 1], across, lambda value: f"{value * 100:.0f} %")]
    x = across(deadline_s)
    parts.append(f'<path class="deadline" d="M{x},{up(0)}V{up(1)}"/>' + _text(x + 4, up(0) - 6, "deadline"))
    for record in records:
        answered = sorted(line["latency_s"] for line in record.history if line["ended"] == "answered")
        steps = "".join(
            f"H{across(latency_s)}V{up((number + 1) / max(record.captured, 1))}"
            for number, latency_s in enumerate(answered)
        )
        curve = f"M{across(0)},{up(0)}{steps}H{across(across.high)}"
        parts.append(f'<path class="curve" style="stroke:{colour(record)}" d="{curve}"/>')
    parts.append(_value_axis(across, height - 40, "latency, ms", lambda value: f"{value * 1000:g}"))
    return _svg(width, height, "Cumulative distribution of latency", parts)


def bars(records: Sequence[RunRecord], values: Sequence[float], told: Callable[[float], str], title: str) -> str:
    """One bar for each alternative, its value written at its end."""
    width, row = 460, 40
    longest = max([*values, 1e-12])
    parts = []
    for number, (record, value) in enumerate(zip(records, values, strict=True)):
        top = number * row + 4
        end = max((width - 100) * value / longest, 1.5)
        parts.append(_text(0, top + 11, record.alternative.name, "name"))
        parts.append(f'<rect x="0" y="{top + 17}" width="{end:.1f}" height="12" rx="2" style="fill:{colour(record)}"/>')
        parts.append(_text(end + 8, top + 27.5, told(value), "value"))
    return _svg(width, len(records) * row + 4, title, parts)


def whiskers(known: Sequence[tuple[str, Interval]], told: Callable[[float], str], title: str) -> str:
    """One mean for each name, with its confidence interval as a whisker where there is one."""
    width, row = 460, 44
    ends = [one.mean + (one.half or 0.0) for _, one in known]
    across = Scale(0.0, max(*ends, 1e-12), 4, width - 120)
    parts = []
    for number, (name, one) in enumerate(known):
        top, half = number * row + 4, one.half or 0.0
        low, mean, high = (across(value) for value in (max(one.mean - half, 0.0), one.mean, one.mean + half))
        value = told(one.mean) if one.half is None else f"{told(one.mean)} ± {told(half)}"
        parts.append(_text(0, top + 11, name, "name"))
        parts.append(f'<path class="whisker" d="M{low},{top + 25}H{high}M{low},{top + 20}v10M{high},{top + 20}v10"/>')
        parts.append(f'<circle class="mean" cx="{mean}" cy="{top + 25}" r="4.5"/>')
        parts.append(_text(high + 10, top + 29, value, "value"))
    return _svg(width, len(known) * row + 4, title, parts)


def colour(record: RunRecord) -> str:
    """The colour of an alternative, as the style sheet names it."""
    return f"var(--{record.alternative.name}, var(--other))"


def _link_panel(bins: Sequence[tuple[float, float]], record: RunRecord, across: Scale, top: float) -> str:
    sent = [(line["at_s"], line["up_bytes"] * 8 / PERIOD_S) for line in record.link if "at_s" in line]
    live = [bps for _, bps in [*bins, *sent] if 0 < bps < math.inf] or [1e6]
    low = 10.0 ** max(math.floor(math.log10(min(live))), _LOWEST_POWER)
    high = 10.0 ** math.ceil(math.log10(max(live)) - 1e-9)
    up = Scale(low / 1e6, max(high, low * 10) / 1e6, top + LINK_HEIGHT, top + 8, logarithmic=True)
    ticks = [10.0**power for power in range(round(math.log10(up.low)), round(math.log10(up.high)) + 1)]
    outline = f"M{across(0)},{up(up.low)}"
    for (at_s, bps), (next_s, _) in pairwise([*bins, (across.high, 0.0)]):
        outline += f"V{up(max(bps / 1e6, up.low))}H{across(next_s)}" if at_s < next_s else ""
    outline += f"V{up(up.low)}Z"
    delivered = "".join(
        f"{'L' if index else 'M'}{across(at_s)},{up(max(bps / 1e6, up.low))}"
        for index, (at_s, bps) in enumerate(point for point in sent if point[0] <= across.high)
    )
    return "".join(
        [
            _text(0, top - 8, "Uplink, Mbit/s (log)", "name"),
            _text(
                across.end,
                top - 8,
                "area: capacity" + (f"; line: {record.alternative.name}" if sent else ""),
                anchor="end",
            ),
            _grid(up, ticks, across, lambda value: f"{value:g}"),
            _dead(bins, across, top + 8, LINK_HEIGHT - 8),
            f'<path class="capacity" d="{outline}"/>',
            f'<path class="delivered" style="stroke:{colour(record)}" d="{delivered}"/>' if delivered else "",
        ]
    )


def _mark(mark: Mark, across: Scale, top: float) -> str:
    """A bar for as long as it lasted, its name beside it on the side with more room."""
    begin, end = across(mark[0]), max(across(mark[1]), across(mark[0]) + 2)
    right = end < (across.start + across.end) / 2
    name = _text(end + 5 if right else begin - 5, top + 13, mark[2], "fault", anchor="start" if right else "end")
    return f'<rect class="fault" x="{begin}" y="{top + 4}" width="{end - begin:.1f}" height="10" rx="2"/>{name}'


def _latency_panel(
    record: RunRecord, bins: Sequence[tuple[float, float]], across: Scale, top: float, ceiling_s: float
) -> str:
    up = Scale(0, ceiling_s, top + PANEL_HEIGHT, top + 4)
    dots, late, misses = [], [], []
    for line in record.history:
        x, y = across(line["captured_s"] + record.first_capture_s), up(latency_of(line))
        if in_time(line):
            dots.append(f"M{x},{y}h0")
        elif line["ended"] == "answered":
            late.append(f"M{x - 2.5},{y}a2.5,2.5 0 1 0 5,0a2.5,2.5 0 1 0 -5,0")
        else:
            misses.append(f"M{x - 2.5},{y - 2.5}l5,5m0,-5l-5,5")
    deadline = up(record.setting.deadline_s)
    missed = record.captured - len(dots)
    told = f"{missed} of {record.captured} not in time" if missed else "all in time"
    return "".join(
        [
            _text(0, top - 8, f"{record.alternative.name}: latency, ms", "name"),
            _text(across.end, top - 8, told, anchor="end"),
            _grid(up, _ticks(ceiling_s, 3), across, lambda value: f"{value * 1000:g}"),
            _dead(bins, across, top + 4, PANEL_HEIGHT - 4),
            f'<path class="deadline" d="M{across.start},{deadline}H{across.end}"/>',
            f'<path class="misses" d="{"".join(misses)}"/>',
            f'<path class="late" style="stroke:{colour(record)}" d="{"".join(late)}"/>',
            f'<path class="dots" style="stroke:{colour(record)}" d="{"".join(dots)}"/>',
        ]
    )


def _lane(lane: tuple[int, int, str], lines: Sequence[Line], record: RunRecord, across: Scale, top: float) -> str:
    cut, level, route = lane
    if level >= 0:
        told = f"cut {cut}, level {level}, {route.replace('_', ' ')}"
    else:
        told = f"device: {'exit' if any(line['exit'] for line in lines) else 'whole model'}, cut {cut}"
    marks = "".join(f"M{across(line['captured_s'] + record.first_capture_s)},{top + 5}v9" for line in lines)
    share = 100 * len(lines) / max(len(record.history), 1)
    return "".join(
        [
            _text(across.start, top, told, "name"),
            _text(across.end, top, f"{len(lines)} frames, {share:.0f} %", anchor="end"),
            f'<path class="axis" d="M{across.start},{top + 9.5}H{across.end}"/>',
            f'<path style="stroke:var(--{route}, var(--other));stroke-width:2;fill:none" d="{marks}"/>',
        ]
    )


def _offered(uplink: DirectionSettings, duration_s: float) -> list[tuple[float, float]]:
    """(start of a bin in seconds, bits per second that the link could carry in it)."""
    capacity = uplink.capacity()
    bin_s = 0.5 if uplink.kind == "trace" else 0.1
    starts = [float(start) for start in np.arange(0, duration_s, bin_s)]
    return [(start, capacity.offered_bytes(start, start + bin_s) * 8 / bin_s) for start in starts]


def _dead(bins: Sequence[tuple[float, float]], across: Scale, top: float, height: float) -> str:
    return "".join(
        f'<path class="dead" d="M{across(start)},{top}H{across(end)}v{height}H{across(start)}Z"/>'
        for start, end in _dead_spans([*bins, (across.high, 1.0)])
    )


def _dead_spans(bins: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    since: float | None = None
    for at_s, bps in bins:
        if bps == 0:
            since = at_s if since is None else since
        elif since is not None:
            if at_s - since >= _DEAD_S:
                yield since, at_s
            since = None


def _ceiling_s(records: Sequence[RunRecord]) -> float:
    """Where latency axes end: a little above the slowest answers, so that single stragglers do not flatten the rest."""
    latencies = [latency_of(line) for record in records for line in record.history] or [0.0]
    deadline_s = records[0].setting.deadline_s
    slow_s = 1.15 * float(np.percentile(latencies, 99.5))
    return min(max(slow_s, 1.3 * deadline_s), 4 * deadline_s)


def _ticks(high: float, about: int) -> list[float]:
    """Round values from 0 to at most `high`."""
    rough = high / about
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * unit for factor in (1, 2, 2.5, 5, 10) if factor * unit >= rough * 0.8)
    return [number * step for number in range(math.floor(high / step + 1e-9) + 1)]


def _grid(up: Scale, ticks: Sequence[float], across: Scale, told: Callable[[float], str]) -> str:
    return "".join(
        f'<path class="grid" d="M{across.start},{up(tick)}H{across.end}"/>'
        + _text(across.start - 6, up(tick) + 4, told(tick), anchor="end")
        for tick in ticks
    )


def _value_axis(across: Scale, top: float, title: str, told: Callable[[float], str]) -> str:
    wide = across.end - across.start > 500
    ticks = _ticks(across.high, 9 if wide else 4)
    labels = "".join(_text(across(tick), top + 17, told(tick), anchor="middle") for tick in ticks)
    return labels + _text(across.end, top + 34, title, anchor="end")


def _time_axis(across: Scale, top: float) -> str:
    return _value_axis(across, top, "seconds since the link started", lambda value: f"{value:g}")


def _text(x: float, y: float, told: str, kind: str = "", *, anchor: str = "start") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{style}>{escape(told)}</text>'


def _svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" xmlns="http://www.w3.org/2000/svg">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
