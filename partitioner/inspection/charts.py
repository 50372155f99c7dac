"""The page's drawings: the network along its depth, the segments' seconds, and every way to run it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from partitioner.inspection.svg import Axis, bytes_text, drawing, element, label, log_axis, titled
from partitioner.inspection.values import Operator, Seen
from partitioner.planned import Planned, seconds_text

WIDTH = 1080.0
LEFT, RIGHT = 70.0, 20.0
_BYTES_HEIGHT, _MOST_ARCS_HEIGHT = 220.0, 150.0
_NAMED = 12
"""Cuts that get their name written beside them; the others tell it when pointed at."""


def depth(seen: Seen) -> str:
    """Bytes that a cut behind each operator would send, and below, who reads whose tensor."""
    across = Axis(0, max(len(seen.operators) - 1, 1), LEFT, WIDTH - RIGHT)
    up = log_axis([one.live_bytes for one in seen.operators], _BYTES_HEIGHT, 28)
    longest = max((place - read for place, one in enumerate(seen.operators) for read in one.reads), default=1)
    baseline = _BYTES_HEIGHT + 30 + _arc_height(longest)
    parts = [*_grid(up, bytes_text), _curve(seen, across, up)]
    parts += _cuts(seen, across, up, baseline)
    parts += [_arc(across, read, place, baseline) for place, one in enumerate(seen.operators) for read in one.reads]
    parts += [_tick(across.at(place), baseline, one) for place, one in enumerate(seen.operators)]
    parts.append(label(LEFT, baseline + 26, "input side: first operator"))
    parts.append(label(WIDTH - RIGHT, baseline + 26, "last operator", anchor="end"))
    return drawing(
        WIDTH, baseline + 34, *parts, told="bytes that cross behind each operator, and the network's tensors"
    )


def _grid(up: Axis, text: Callable[[float], str]) -> list[str]:
    lines = []
    for value in up.ticks():
        y = up.at(value)
        lines.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        lines.append(label(LEFT - 8, y + 4, text(value), anchor="end"))
    return lines


def _curve(seen: Seen, across: Axis, up: Axis) -> str:
    points = [(across.at(place), up.at(one.live_bytes)) for place, one in enumerate(seen.operators)]
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}" + "".join(f"H{x:.1f}V{y:.1f}" for x, y in points[1:])
    return element("path", d=path, class_="curve")


def _cuts(seen: Seen, across: Axis, up: Axis, baseline: float) -> list[str]:
    parts = []
    named, free_x = _named(seen), -math.inf
    for cut in seen.cuts:
        x, y = across.at(cut.place), up.at(cut.bytes)
        dot = element("circle", cx=x, cy=y, r=5.0 if cut.chosen else 3.0, class_="chosen" if cut.chosen else "cut")
        if cut.chosen:
            parts.append(element("line", x1=x, x2=x, y1=20.0, y2=baseline, class_="chosen-line"))
        parts.append(titled(dot, f"after {cut.name}: {bytes_text(cut.bytes)}, {cut.share:.0%} of the work in front"))
        wide = 7.0 * len(cut.name) + 14
        left = x + 7 if x + wide < WIDTH else x - wide
        if cut.place in named and (cut.chosen or left > free_x):
            parts.append(label(left, y - 8, cut.name, class_="name"))
            free_x = left + wide
    return parts


def _named(seen: Seen) -> set[int]:
    """Places of the cuts that bear their name: of several at one size with no work between, the last."""
    last = {(cut.bytes, cut.share): cut for cut in seen.cuts}
    return {cut.place for cut in sorted(last.values(), key=lambda cut: (not cut.chosen, cut.bytes))[:_NAMED]}


def _arc(across: Axis, read: int, place: int, baseline: float) -> str:
    a, b = across.at(read), across.at(place)
    if place - read == 1:
        return element("line", x1=a, x2=b, y1=baseline, y2=baseline, class_="tensor")
    height = _arc_height(place - read)
    return element("path", d=f"M{a:.1f} {baseline:g}C{a:.1f} {baseline - height * 1.33:.1f} {b:.1f} "
                   f"{baseline - height * 1.33:.1f} {b:.1f} {baseline:g}", class_="skip")  # fmt: skip


def _arc_height(skipped: int) -> float:
    return 0.0 if skipped <= 1 else min(_MOST_ARCS_HEIGHT, 14 * math.sqrt(skipped))


def _tick(x: float, baseline: float, one: Operator) -> str:
    kind = "heavy" if one.macs else "light"
    told = f"{one.name}: {one.kind}, {one.macs:,} MACs, gives {bytes_text(one.bytes)}"
    return titled(element("circle", cx=x, cy=baseline, r=4.0 if one.macs else 2.5, class_=kind), told)


def bars(names: Sequence[str], columns: Sequence[tuple[str, Sequence[float]]]) -> str:
    """Seconds of each segment, one bar per tier; each tier has its own scale, for devices are slower."""
    row, gap = 15.0, 10.0
    height = len(names) * (row * len(columns) + gap) + 10
    parts, y = [], 6.0
    for number, name in enumerate(names):
        parts.append(label(210, y + row - 3, name, anchor="end"))
        for place, (tier, seconds) in enumerate(columns):
            wide = 640 * seconds[number] / max(*seconds, 1e-12)
            shape = element("rect", x=220.0, y=y, width=max(wide, 1.0), height=row - 3, rx=2, class_=f"tier{place}")
            parts.append(shape)
            parts.append(label(226 + max(wide, 1.0), y + row - 4, f"{tier} {seconds_text(seconds[number])}"))
            y += row
        y += gap
    return drawing(WIDTH, height, *parts, told="seconds of each segment")


def ways(planned: Planned) -> str:
    """Every way to run the model: latency against bytes, and the front that no other way beats."""
    figures, height = planned.choices.figures, 320.0
    across = log_axis(list(figures["latency_s"]), LEFT, WIDTH - RIGHT)
    up = log_axis(list(figures["bytes"]), height - 40, 20)
    parts = _grid(up, bytes_text)
    for value in across.ticks():
        parts.append(label(across.at(value), height - 18, seconds_text(value), anchor="middle"))
    front = planned.pareto()
    points = [(across.at(figures["latency_s"][one]), up.at(figures["bytes"][one])) for one in front]
    path = "".join(f"{'H' if n else 'M'}{x:.1f}{'V' if n else ' '}{y:.1f}" for n, (x, y) in enumerate(points))
    parts.append(element("path", d=path, class_="front"))
    for choice in _drawn(planned):
        x, y = across.at(figures["latency_s"][choice]), up.at(figures["bytes"][choice])
        kind = "chosen" if choice == planned.choice else "best" if choice in front else "way"
        told = f"{planned.name_of(choice)}: {seconds_text(figures['latency_s'][choice])}, "
        dot = element("circle", cx=x, cy=y, r=6.0 if kind == "chosen" else 4.0 if kind == "best" else 2.5, class_=kind)
        parts.append(titled(dot, told + bytes_text(figures["bytes"][choice])))
    x, y = across.at(figures["latency_s"][planned.choice]), up.at(figures["bytes"][planned.choice])
    anchor = "end" if x > WIDTH / 2 else "start"
    parts.append(
        label(
            x + (10 if anchor == "start" else -10), y - 9, planned.name_of(planned.choice), class_="name", anchor=anchor
        )
    )
    parts.append(label(WIDTH - RIGHT, height - 2, "time from input to answer", anchor="end"))
    return drawing(WIDTH, height, *parts, told="latency against bytes of every way to run the model")


_MOST_DRAWN = 2000


def _drawn(planned: Planned) -> list[int]:
    """The ways to draw: all, or a sample where there are very many; the best ones last, so that they lie on top."""
    every = range(0, len(planned.choices), len(planned.choices) // _MOST_DRAWN + 1)
    return list(dict.fromkeys([*(one for one in every if one != planned.choice), *planned.pareto(), planned.choice]))
