"""An evaluation as one self-contained HTML page: a plot of bytes against answers for each cut, and the rates."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from isthmus.evaluation.bundle import Evaluation
from isthmus.evaluation.curves import Curve
from testbed.plots import Scale

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 380, 56, 16, 14, 46
COLOURS: Final = ("#1f5fd0", "#c2700a", "#0f8a72", "#84609f", "#c8323c", "#7a7f87", "#b0892f", "#3a8fb7")
_STYLE: Final = """
:root { color-scheme: light dark; --page: #fbfbfa; --card: #fff; --ink: #1c1f24; --soft: #5c6370; --line: #e3e5e8; }
@media (prefers-color-scheme: dark) {
  :root { --page: #14161a; --card: #1b1e24; --ink: #e8eaee; --soft: #9aa2b1; --line: #2e333c; }
}
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 900px; margin: 0 auto; padding: 36px 18px 60px; }
h1 { font-size: 28px; margin: 0 0 6px; } h2 { font-size: 19px; margin: 40px 0 4px; }
p { color: var(--soft); max-width: 72ch; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px; }
svg { display: block; width: 100%; height: auto; font: 12px system-ui, sans-serif; }
svg text { fill: var(--soft); } .grid { stroke: var(--line); } .whole { stroke: var(--soft); stroke-dasharray: 4 4; }
.curve { fill: none; stroke-width: 2; stroke-linejoin: round; }
.key { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin: 0 6px 0 14px; }
table { border-collapse: collapse; width: 100%; font-size: 14.5px; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 5px 8px; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; } th { color: var(--soft); font-weight: 600; }
"""


def page(found: Evaluation, title: str) -> str:
    """The page as text; nothing in it is fetched from elsewhere.

    Args:
        title: e.g. the model's name.
    """
    cuts = sorted({cut for curve in found.curves if (cut := _cut_of(curve)) is not None})
    pictures = [curve for curve in found.curves if _cut_of(curve) is None]
    plots = "".join(
        f"<h2>Cut {cut}</h2>{_plot(found, [*_at(found.curves, cut), *(pictures if cut else [])])}" for cut in cuts
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}: bytes and answers</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>{escape(title)}</h1><p>{found.items} samples; {found.quality} of the whole model {found.whole:.2%} "
        "(dashed). Bytes are those of real payloads. A stock classifier is taken as it is; one that was tuned on "
        "a codec's output loses less at low rates.</p>"
        f"{plots}<h2>Levels</h2>{_levels(found)}<h2>Bytes at equal {found.quality}</h2>{_rates(found)}"
        "</main></body></html>\n"
    )


def _cut_of(curve: Curve) -> int | None:
    """The cut that a curve belongs to, None for files of the picture."""
    words = curve.name.replace(",", "").split()
    return int(words[words.index("cut") + 1]) if "cut" in words else None


def _at(curves: Sequence[Curve], cut: int) -> list[Curve]:
    return [curve for curve in curves if _cut_of(curve) == cut]


def _plot(found: Evaluation, curves: Sequence[Curve]) -> str:
    sizes = [float(size) for curve in curves for size in curve.bytes if size > 0] or [1.0]
    worst = min(float(quality) for curve in curves for quality in curve.quality)
    across = Scale(min(sizes) / 1.2, max(sizes) * 1.2, LEFT, WIDTH - RIGHT, logarithmic=True)
    up = Scale(max(min(worst, found.whole) - 0.02, 0.0), 1.0, HEIGHT - BOTTOM, TOP)
    parts = [_grid(across, up, found)]
    keys = []
    for number, curve in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        parts.append(_line(curve, across, up, colour))
        keys.append(f'<span><span class="key" style="background:{colour}"></span>{escape(curve.name)}</span>')
    drawn = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(parts)}</svg>'
    return f"<section>{drawn}<div>{' '.join(keys)}</div></section>"


def _grid(across: Scale, up: Scale, found: Evaluation) -> str:
    lines = []
    for power in range(9):
        if across.low <= 10**power <= across.high:
            x = across(10**power)
            lines.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
            lines.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{10**power:,}</text>')
    for step in range(11):
        quality = up.low + (up.high - up.low) * step / 10
        y = up(quality)
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        lines.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{quality:.1%}</text>')
    y = up(found.whole)
    lines.append(f'<line class="whole" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
    lines.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end">bytes a sample</text>')
    return "".join(lines)


def _line(curve: Curve, across: Scale, up: Scale, colour: str) -> str:
    """A curve with a dot for each level; what sends nothing stands at the left edge."""
    points = sorted(
        (max(float(size), across.low), float(q)) for size, q in zip(curve.bytes, curve.quality, strict=True)
    )
    placed = [(across(size), up(quality)) for size, quality in points]
    path = " ".join(f"{x},{y}" for x, y in placed)
    dots = "".join(f'<circle cx="{x}" cy="{y}" r="3.2" fill="{colour}"/>' for x, y in placed)
    return f'<polyline class="curve" stroke="{colour}" points="{path}"/>{dots}'


def _levels(found: Evaluation) -> str:
    rows = [
        (curve.name, level, f"{size:,.1f}", f"{quality:.2%}")
        for curve in found.curves
        for level, size, quality in zip(curve.levels, curve.bytes, curve.quality, strict=True)
    ]
    return _table(("method", "level", "bytes", found.quality), rows)


def _rates(found: Evaluation) -> str:
    rows = [
        (one.method, one.against, f"{one.rate:+.1%}", f"{one.low:+.1%} to {one.high:+.1%}") for one in found.differences
    ]
    return _table(("method", "against", "bytes", "95 % interval"), rows)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<section><table><tr>{head}</tr>{body}</table></section>"
