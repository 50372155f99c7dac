"""Elements and axes of a drawing, as text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


def element(name: str, /, *children: str, text: str = "", **attributes: object) -> str:
    """One element; `class_` and `font_size` become class and font-size. Text and values are escaped, children not."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_value(value))}"' for key, value in attributes.items()
    )
    return f"<{name}{told}>{escape(text)}{''.join(children)}</{name}>"


def _value(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def label(x: float, y: float, text: str, *, class_: str = "axis", anchor: str = "start") -> str:
    """A word at a point."""
    return element("text", text=text, x=x, y=y, class_=class_, text_anchor=anchor)


def titled(shape: str, text: str) -> str:
    """A shape that says something when pointed at."""
    return element("g", element("title", text=text), shape)


def drawing(width: float, height: float, *children: str, told: str) -> str:
    """A whole drawing, scaled to the page's width; `told` is read out to those who do not see it."""
    return element("svg", *children, viewBox=f"0 0 {width:g} {height:g}", role="img", aria_label=told)


@dataclass(frozen=True, slots=True)
class Axis:
    """From values to places. Logarithmic axes put 0 at their low end."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log10(max(value, low)), math.log10(low), math.log10(high)
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values: powers of ten on a logarithmic axis, else about five."""
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            steps = (1, 2, 5) if last - first <= 2 else (1,)
            every = max(1, (last - first) // 6)
            marks = [step * 10.0**power for power in range(first, last + 1, every) for step in steps]
            return [mark for mark in marks if self.low <= mark <= self.high]
        step = 10 ** math.floor(math.log10(max(self.high - self.low, 1e-12) / 3))
        step *= next(factor for factor in (1, 2, 5, 10) if (self.high - self.low) / (step * factor) <= 6)
        first = math.ceil(self.low / step)
        return [step * number for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def log_axis(values: Sequence[float], start: float, end: float) -> Axis:
    """A logarithmic axis with room around positive values."""
    positive = [value for value in values if value > 0] or [1.0]
    return Axis(min(positive) / 2, max(positive) * 2, start, end, log=True)


def bytes_text(size: float) -> str:
    """Bytes with a unit, three digits."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size:.3g} B"
