"""A comparison as one self-contained HTML page: no request leaves it, light and dark, readable on a phone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

from testbed import plots
from testbed.errors import TestbedError
from testbed.figures import DEFINITIONS, RunRecord, figures
from testbed.link.settings import DirectionSettings

WIDE, NARROW = 960, 380
"""Widths for which each plot is drawn, in pixels; the page shows the one that fits."""

STYLE = Path(__file__).with_name("report.css")


def ms(seconds: float) -> str:
    """`250 ms`"""
    return f"{seconds * 1000:.0f} ms"


def percent(share: float) -> str:
    """`2.5 %`"""
    return f"{share * 100:.1f} %"


def _bytes(count: float) -> str:
    return f"{count:,.0f}"


COLUMNS: Sequence[tuple[str, str, Callable[[float], str], int]] = (
    ("mean_latency_s", "mean latency", ms, -1),
    ("p95_latency_s", "95th percentile", ms, -1),
    ("deadline_miss_rate", "deadline misses", percent, -1),
    ("accuracy", "accuracy in time", percent, 1),
    ("accuracy_of_answers", "accuracy of answers", percent, 1),
    ("bytes_per_frame", "bytes per frame", _bytes, -1),
    ("frames", "frames", _bytes, 0),
    ("frames_lost", "frames lost", _bytes, 0),
)
"""(figure, heading, how it is told, 1 if more is better and -1 if less is)."""


def write_report(path: Path, records: Sequence[RunRecord], *, notes: Mapping[str, str] | None = None) -> None:
    """Write the page.

    Args:
        records: one for each alternative, in the order in which they are shown; the last one's choices are drawn.
        notes: further settings to print: what, and its value.

    Raises:
        TestbedError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page(records, notes=notes), encoding="utf-8")
    except OSError as exc:
        raise TestbedError(f"the report {str(path)!r} cannot be written: {exc.strerror}; choose another path") from exc


def page(records: Sequence[RunRecord], *, notes: Mapping[str, str] | None = None) -> str:
    """The page as text; see `write_report`."""
    found = [figures(record) for record in records]
    setting, last = records[0].setting, records[-1]
    body = [
        "<h1>One model, three tiers, a moving link</h1>",
        f'<p class="lead">{escape(_verdict(records, found))}</p>',
        card(_table(records, found)),
        '<p class="note">● marks the best of each column. Definitions are at the end.</p>',
        "<h2>Latency under the link</h2>",
        '<p class="note">One mark for each captured frame: a dot was answered in time, a ring too late, a cross not at '
        "all. The dashed line is the deadline; the link is dead where the ground is red.</p>",
        card(both(lambda width: plots.timeline(records, width))),
        f"<h2>What {escape(last.alternative.name)} chose</h2>",
        '<p class="note">Frames that were replaced before the device took them up have no choice.</p>',
        card(both(lambda width: plots.choices(last, width))),
        "<h2>How many frames were answered within a time</h2>",
        '<p class="note">Of all captured frames; a curve that ends below 100 % left frames unanswered.</p>',
        card(_legend(records) + both(lambda width: plots.distribution(records, width))),
        "<h2>Bytes and misses</h2>",
        '<div class="pair">'
        + card(_bars(records, found, "bytes_per_frame", "Bytes sent per frame", _bytes))
        + card(_bars(records, found, "deadline_miss_rate", "Frames not answered in time", percent))
        + "</div>",
        "<h2>Setting</h2>",
        card(definitions({**_told(records), **(notes or {})})),
        f"<h2>Run it again</h2><pre>{escape(setting.command)}</pre>" if setting.command else "",
        "<h2>Definitions</h2>",
        card(definitions({heading: DEFINITIONS[name] for name, heading, _, _ in COLUMNS})),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>isthmus: comparison</title><style>{STYLE.read_text(encoding='utf-8')}</style></head>"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


def _verdict(records: Sequence[RunRecord], found: Sequence[Mapping[str, float]]) -> str:
    """The last alternative's figures, and the best of the others in each, whichever way they fall."""
    shown = [column for column in COLUMNS if column[0] in ("mean_latency_s", "deadline_miss_rate", "accuracy")]
    own = ", ".join(f"{told(found[-1][name])} {heading}" for name, heading, told, _ in shown)
    sentence = f"{records[-1].alternative.name}: {own}."
    if len(records) == 1:
        return sentence
    best = []
    for name, _, told, better in shown:
        at = max(range(len(found) - 1), key=lambda index: found[index][name] * better)
        best.append(f"{told(found[at][name])} ({records[at].alternative.name})")
    return f"{sentence} The best of the others: {', '.join(best)}."


def _table(records: Sequence[RunRecord], found: Sequence[Mapping[str, float]]) -> str:
    head = "".join(f'<th scope="col">{heading}</th>' for _, heading, _, _ in COLUMNS)
    rows = []
    for record, own in zip(records, found, strict=True):
        cells = "".join(
            f"<td{_best(name, better, own, found)}>{told(own[name])}</td>" for name, _, told, better in COLUMNS
        )
        rows.append(f"<tr><td>{_key(record)}{_name(record)}</td>{cells}</tr>")
    return scrolled("figures", f'<table><tr><th scope="col">alternative</th>{head}</tr>{"".join(rows)}</table>')


def _best(name: str, better: int, own: Mapping[str, float], found: Sequence[Mapping[str, float]]) -> str:
    if not better or own[name] * better < max(other[name] * better for other in found):
        return ""
    return ' class="best"'


def _name(record: RunRecord) -> str:
    return f"{escape(record.alternative.name)}<small>{escape(record.alternative.told)}</small>"


def _key(record: RunRecord) -> str:
    return f'<span class="key" style="background:{plots.colour(record)}"></span>'


def _legend(records: Sequence[RunRecord]) -> str:
    return (
        '<p class="note">'
        + " &ensp; ".join(f"{_key(record)}{escape(record.alternative.name)}" for record in records)
        + "</p>"
    )


def _bars(
    records: Sequence[RunRecord],
    found: Sequence[Mapping[str, float]],
    name: str,
    title: str,
    told: Callable[[float], str],
) -> str:
    return f"<p>{title}</p>" + plots.bars(records, [own[name] for own in found], told, title)


def _told(records: Sequence[RunRecord]) -> dict[str, str]:
    setting = records[0].setting
    return {
        "bundle": setting.bundle.name,
        "frames": f"{setting.frames} in each run, {setting.rate_hz:g} per second, the same pictures in the same order",
        "deadline": f"{ms(setting.deadline_s)} from capture to answer",
        "device": f"{setting.slowdown:.1f} times slower than this machine, by real waiting after each computation",
        "uplink": direction_told(setting.uplink),
        "downlink": direction_told(setting.downlink),
        "cloud": f"{ms(setting.cloud_extra_s)} farther than the edge, each way",
        "programs": "device, link, edge, backhaul and cloud are separate processes, joined by TCP",
    }


def direction_told(direction: DirectionSettings) -> str:
    """One direction of a link in words."""
    if direction.kind == "steps":
        carries = ", then ".join(
            (f"{bps / 1e6:g} Mbit/s" if bps else "dead") + f" for {seconds:.3g} s" for seconds, bps in direction.steps
        )
    elif direction.kind == "trace" and direction.path is not None:
        end = "its end" if direction.to_s is None else f"{direction.to_s:g} s"
        carries = f"trace {direction.path.name}, from {direction.from_s:g} s to {end}"
    elif direction.rate_bps is not None:
        carries = f"{direction.rate_bps / 1e6:g} Mbit/s"
    else:
        carries = "no bound"
    return f"{carries}; {ms(direction.delay_s)} one way; queue of {direction.queue_bytes:,} bytes"


def definitions(entries: Mapping[str, str]) -> str:
    """A list of terms and what they mean, as HTML."""
    return "<dl>" + "".join(f"<dt>{escape(key)}</dt><dd>{escape(told)}</dd>" for key, told in entries.items()) + "</dl>"


def both(draw: Callable[[int], str]) -> str:
    """A plot drawn for both widths; the page shows the one that fits."""
    return f'<div class="wide">{draw(WIDE)}</div><div class="narrow">{draw(NARROW)}</div>'


def scrolled(name: str, table: str) -> str:
    """A table that may be wider than the screen: it moves by keyboard too."""
    return f'<div class="scroll" role="region" aria-label="{name}" tabindex="0">{table}</div>'


def card(content: str) -> str:
    """A framed part of the page."""
    return f'<section class="card">{content}</section>'
