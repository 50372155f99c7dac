"""An evaluation as one self-contained HTML page: a plot of bytes against answers for each cut, and the rates."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Final

from isthmus.evaluation.bundle import Evaluation
from isthmus.evaluation.curves import Curve
from partitioner.inspection.html import document, table
from partitioner.inspection.svg import Axis, drawing, element, label, titled

WIDTHS: Final = {"wide": 880.0, "narrow": 360.0}
"""For which each plot is drawn, in pixels; the page shows the one that fits."""
HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 380.0, 44.0, 20.0, 30.0, 46.0
_COLOURS: Final = 8
"""In the style sheet, for light and dark; further curves share one and are told apart by their numbers."""


def page(found: Evaluation, title: str) -> str:
    """The page as text; nothing in it is fetched from elsewhere.

    Args:
        title: e.g. the model's name.
    """
    style = (files("isthmus.evaluation") / "page.css").read_text(encoding="utf-8")
    told = (
        f"{found.items} samples; {found.quality} of the whole model {found.whole:.2%} (dashed). Bytes are those of "
        "real payloads. A stock classifier is taken as it is; one that was tuned on a codec's output loses less at low "
        "rates."
    )
    body = (
        element("h1", text=title),
        element("p", text=told),
        *_plots(found),
        *_levels(found),
        *_rates(found),
    )
    return document(f"{title}: bytes and answers", style, *body) + "\n"


def _plots(found: Evaluation) -> list[str]:
    cuts = sorted({cut for curve in found.curves if (cut := _cut_of(curve)) is not None})
    pictures = [curve for curve in found.curves if _cut_of(curve) is None]
    parts = []
    for cut in cuts:
        curves = [curve for curve in found.curves if _cut_of(curve) == cut] + (pictures if cut else [])
        parts += [element("h2", text=f"Cut {cut}"), _plot(found, curves)]
    return parts


def _cut_of(curve: Curve) -> int | None:
    """The cut that a curve belongs to, None for files of the picture."""
    words = curve.name.replace(",", "").split()
    return int(words[words.index("cut") + 1]) if "cut" in words else None


def _plot(found: Evaluation, curves: Sequence[Curve]) -> str:
    drawn = [element("div", _drawn(found, curves, width), class_=kind) for kind, width in WIDTHS.items()]
    keys = [
        element("b", text=str(number), style=f"background:{_colour(number)}") + element("span", text=curve.name)
        for number, curve in enumerate(curves, 1)
    ]
    return element("section", *drawn, element("ul", *(element("li", key) for key in keys), class_="keys"))


def _drawn(found: Evaluation, curves: Sequence[Curve], width: float) -> str:
    sizes = [float(size) for curve in curves for size in curve.bytes if size > 0] or [1.0]
    worst = min(float(quality) for curve in curves for quality in curve.quality)
    across = Axis(min(sizes) / 1.2, max(sizes) * 1.2, LEFT, width - RIGHT, log=True)
    up = Axis(max(min(worst, found.whole) - 0.02, 0.0), 1.0, HEIGHT - BOTTOM, TOP)
    y = up.at(found.whole)
    parts = [
        label(0.0, 14.0, f"{found.quality}, %", class_="name"),
        *_grid(across, up),
        label(width - RIGHT, HEIGHT - 6, "bytes a sample (log)", class_="name", anchor="end"),
        element("line", class_="whole", x1=LEFT, x2=width - RIGHT, y1=y, y2=y),
        *(_line(curve, number, across, up) for number, curve in enumerate(curves, 1)),
    ]
    return drawing(width, HEIGHT, *parts, told=f"{found.quality} against bytes of {len(curves)} methods")


def _grid(across: Axis, up: Axis) -> list[str]:
    lines = []
    for value in up.ticks():
        y = up.at(value)
        lines.append(element("line", class_="grid", x1=across.start, x2=across.end, y1=y, y2=y))
        lines.append(label(across.start - 6, y + 4, f"{100 * value:g}", anchor="end"))
    for value in across.ticks():
        x = across.at(value)
        lines.append(element("line", class_="grid", x1=x, x2=x, y1=up.start, y2=up.end))
        lines.append(label(x, up.start + 18, f"{value:,g}", anchor="middle"))
    return lines


def _line(curve: Curve, number: int, across: Axis, up: Axis) -> str:
    """A curve with a dot for each level and its number behind the last; what sends nothing stands at the left edge."""
    points = sorted(zip(curve.bytes.tolist(), curve.quality.tolist(), curve.levels, strict=True))
    placed = [(across.at(size), up.at(quality)) for size, quality, _ in points]
    dots = [
        titled(element("circle", cx=x, cy=y, r=3.2), f"{curve.name}, {level}: {size:,.1f} bytes, {quality:.2%}")
        for (x, y), (size, quality, level) in zip(placed, points, strict=True)
    ]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
    line = element("polyline", class_="curve", style=f"stroke:{_colour(number)}", points=path)
    end = label(placed[-1][0] + 6, placed[-1][1] - 6, str(number), class_="name")
    return line + element("g", *dots, style=f"fill:{_colour(number)}") + end


def _colour(number: int) -> str:
    return f"var(--c{(number - 1) % _COLOURS})"


def _levels(found: Evaluation) -> list[str]:
    rows = [
        (curve.name, level, f"{size:,.1f}", f"{quality:.2%}")
        for curve in found.curves
        for level, size, quality in zip(curve.levels, curve.bytes, curve.quality, strict=True)
    ]
    return _table("Levels", ("method", "level", "bytes", found.quality), rows)


def _rates(found: Evaluation) -> list[str]:
    rows = [
        (one.method, one.against, f"{one.rate:+.1%}", f"{one.low:+.1%} to {one.high:+.1%}") for one in found.differences
    ]
    title = f"Bytes at equal {found.quality}"
    if not rows:
        return [element("h2", text=title), element("p", text=f"No two methods reach the same {found.quality}.")]
    return _table(title, ("method", "against", "bytes", "95 % interval"), rows)


def _table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    region = element("div", table(headings, rows), class_="scroll", role="region", aria_label=title, tabindex=0)
    return [element("h2", text=title), element("section", region)]
