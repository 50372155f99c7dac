"""A run as one picture: the link and what was believed of it, what was chosen, and how long answers took. SVG text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from testbed.figures import in_time, latency_of
from testbed.plots import Scale
from testbed.simulation.retold import Belief, Line, Minute, beliefs, choice_of

WIDTH, LEFT, RIGHT = 1000, 150, 14
LINK_PX, LANE_PX, LATENCY_PX, MINUTE_PX = 150, 18, 110, 60
MOST_LANES = 12
LEAST_MBPS = 0.01
STYLE = (
    "svg{background:#fff;color:#222}text{font:11px sans-serif;fill:#222}.axis{stroke:#999;fill:none}"
    ".between{fill:#9dc3e6;opacity:.6}.middle{stroke:#1f5f9e;fill:none}.carried{stroke:#777;fill:none}"
    ".remote{fill:#1f5f9e}.device{fill:#c77700}.late{fill:#c00000}.lost{fill:#c77700;opacity:.7}"
    ".deadline{stroke:#c00000;stroke-dasharray:4 3;fill:none}"
    "@media(prefers-color-scheme:dark){svg{background:#16181c}text{fill:#ddd}.middle{stroke:#7fb8ee}"
    ".remote{fill:#7fb8ee}.device{fill:#f0a94a}.late{fill:#ff7b72}.deadline{stroke:#ff7b72}}"
)


def picture(lines: Sequence[Line], told: Sequence[Minute], carried: Sequence[Mapping[str, Any]] = ()) -> str:
    """The whole run.

    Args:
        lines: of the history.
        told: its minutes, for the regret of each.
        carried: lines of the emulated link that the run went over, where there was one: `at_s`, `up_bytes`.
    """
    live = sorted((line for line in lines if not line.get("late")), key=lambda line: float(line["captured_s"]))
    end_s = max(float(live[-1]["captured_s"]), 1.0)
    across = Scale(0.0, end_s, LEFT, WIDTH - RIGHT)
    lanes = [choice for choice, _ in Counter(map(choice_of, live)).most_common() if choice is not None][:MOST_LANES]
    tops = [26.0]
    for height in (LINK_PX, LANE_PX * len(lanes) + 6, LATENCY_PX, MINUTE_PX):
        tops.append(tops[-1] + height + 34)
    parts = [
        _title(tops[0], "uplink, Mbit/s: believed median and 80 % interval" + (", carried" if carried else "")),
        _link(beliefs(live), carried, across, tops[0]),
        _title(tops[1], "choices"),
        *(_lane(place, lanes[place], live, across, tops[1]) for place in range(len(lanes))),
        _title(tops[2], "milliseconds to the answer; red: none in time"),
        _latencies(live, across, tops[2]),
        _title(tops[3], "regret of each minute, %"),
        _regrets(told, across, tops[3]),
        _seconds(across, tops[4] - 18),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {tops[4]:.0f}" role="img">'
        f"<title>A run: link, choices, latencies, regret</title><style>{STYLE}</style>{''.join(parts)}</svg>\n"
    )


def _link(known: Sequence[Belief], carried: Sequence[Mapping[str, Any]], across: Scale, top: float) -> str:
    rates = [1e-6 * rate for one in known for rate in (one.low_bps, one.high_bps)]
    high = 10.0 ** math.ceil(math.log10(max([*rates, 10.0 * LEAST_MBPS])))
    up = Scale(LEAST_MBPS, high, top + LINK_PX, top, logarithmic=True)
    above = [(across(one.at_s), up(1e-6 * one.high_bps)) for one in known]
    below = [(across(one.at_s), up(1e-6 * one.low_bps)) for one in reversed(known)]
    middle = [(across(one.at_s), up(1e-6 * one.middle_bps if one.alive >= 0.5 else 0.0)) for one in known]
    seen = [(across(line["at_s"]), up(8e-5 * line["up_bytes"])) for line in carried]
    ticks = [10.0**power for power in range(math.ceil(math.log10(LEAST_MBPS)), round(math.log10(high)) + 1)]
    return (
        "".join(_tick(tick, f"{tick:g}", up) for tick in ticks)
        + _path("between", [*above, *below])
        + _path("carried", seen)
        + _path("middle", middle)
    )


def _lane(place: int, choice: object, lines: Sequence[Line], across: Scale, top: float) -> str:
    y = top + LANE_PX * place
    marks = "".join(
        f'<rect x="{across(line["captured_s"])}" y="{y}" width="1.6" height="{LANE_PX - 5}" class="{_by(line)}"/>'
        for line in lines
        if choice_of(line) == choice
    )
    return _text(LEFT - 6, y + 11, _name(choice), "end") + marks


def _by(line: Line) -> str:
    if not in_time(line):
        return "late"
    return "device" if line["by"] == "device" else "remote"


def _name(choice: Any) -> str:
    level = "" if choice.level is None else f", level {choice.level}"
    return f"{choice.route}, cut {choice.cut}{level}"


def _latencies(lines: Sequence[Line], across: Scale, top: float) -> str:
    deadline_s = max(float(line["deadline_s"]) for line in lines)
    up = Scale(0.0, 1.5 * deadline_s, top + LATENCY_PX, top)
    dots = "".join(
        f'<circle cx="{across(line["captured_s"])}" cy="{up(latency_of(line))}" r="1.6" class="{_by(line)}"/>'
        for line in lines
    )
    at = up(deadline_s)
    allowed = f'<path class="deadline" d="M{across.start},{at}H{across.end}"/>'
    return _tick(0.0, "0", up) + _tick(deadline_s, f"{1e3 * deadline_s:.0f}", up) + allowed + dots


def _regrets(told: Sequence[Minute], across: Scale, top: float) -> str:
    most = max([0.05, *(minute.regret for minute in told)])
    up = Scale(0.0, most, top + MINUTE_PX, top)
    parts = [_tick(0.0, "0", up), _tick(most, f"{100 * most:.0f}", up)]
    for number, minute in enumerate(told):
        begin = across(minute.begins_s)
        end = across(told[number + 1].begins_s) if number + 1 < len(told) else across.end
        y = up(minute.regret)
        parts.append(
            f'<rect x="{begin}" y="{y}" width="{max(end - begin - 1.0, 1.0):.1f}" height="{up(0.0) - y:.1f}" '
            f'class="lost"/>' + _text(0.5 * (begin + end), y - 3, f"{100 * minute.regret:.1f}", "middle")
        )
    return "".join(parts)


def _seconds(across: Scale, y: float) -> str:
    step = 10.0 ** math.floor(math.log10(across.high)) / 2.0
    ticks = [number * step for number in range(int(across.high / step) + 1)]
    return "".join(_text(across(tick), y, f"{tick:g} s", "middle") for tick in ticks)


def _path(kind: str, points: Sequence[tuple[float, float]]) -> str:
    return f'<path class="{kind}" d="M{"L".join(f"{x},{y}" for x, y in points)}"/>' if points else ""


def _tick(value: float, told: str, up: Scale) -> str:
    return f'<path class="axis" d="M{LEFT - 4},{up(value)}h4"/>' + _text(LEFT - 6, up(value) + 4, told, "end")


def _title(top: float, told: str) -> str:
    return _text(LEFT, top - 8, told, "start")


def _text(x: float, y: float, told: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(told)}</text>'
