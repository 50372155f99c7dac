"""A bundle's plan: which segments each tier runs, what crosses, what that takes, and where each figure comes from."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from partitioner.planning.beaten import beaten, sentence
from partitioner.planning.chain import Chain
from partitioner.planning.choices import GOALS, Choices, Stretch
from partitioner.planning.links import rate_text

DECADES = 100.0
"""Stretches of a link's rate are told from a hundredth of it to a hundred times it."""


class Planned:
    """The answer to a question; prints as a table.

    Attributes:
        choices: every way to run the bundle, with all figures.
        choice: number of the best one.
        sources: by tier, link and figure, where it comes from.
    """

    def __init__(
        self, model_id: str, chain: Chain, goal: str, limits: Mapping[str, float], sources: Mapping[str, str]
    ) -> None:
        self.model_id = model_id
        self.chain = chain
        self.goal = goal
        self.limits = dict(limits)
        self.sources = dict(sources)
        self.choices = Choices(chain)
        self.choice = self.choices.choose(goal, limits)

    @property
    def cuts(self) -> tuple[str, ...]:
        """Where the best way leaves a tier, in order; empty where the device answers alone."""
        return tuple(self.chain.places[hop.place].name for hop in self.choices.hops(self.choice))

    @property
    def figures(self) -> dict[str, float]:
        """Every figure of the best way."""
        return self.choices.figures_at(self.choice)

    @property
    def value(self) -> float:
        """The goal's figure."""
        return self.figures[GOALS[self.goal][0]]

    def stretches(self, link: int = 0) -> list[Stretch]:
        """Which way is fastest at which rate of a link, within the limits that do not concern time."""
        rate = self.chain.links[link].rate_bps
        return self.choices.best_between(link, rate / DECADES, rate * DECADES, self.limits)

    def pareto(self, first: str = "latency_s", second: str = "bytes") -> list[int]:
        """The ways within the limits that no other beats in two figures."""
        return self.choices.pareto(first, second, self.limits)

    def name_of(self, choice: int) -> str:
        """A way in words."""
        hops = self.choices.hops(choice)
        crossing = [f"{self.chain.places[hop.place].name} ({self._level(hop.place, hop.level)})" for hop in hops]
        return ", then ".join(crossing) if crossing else "all on the device"

    def _level(self, place: int, level: int) -> str:
        return self.chain.places[place].levels[level].name

    def rows(self) -> list[int]:
        """The best way per place where the frame may leave the device, within the limits where there is one; and
        answering alone. The plan's own is among them."""
        best: dict[int, int] = {}
        objective, allowed = self.choices.figures[GOALS[self.goal][0]], self.choices.allowed(self.limits)
        for choice in sorted(
            range(len(self.choices)), key=lambda one: (one != self.choice, not allowed[one], objective[one])
        ):
            hops = self.choices.hops(choice)
            best.setdefault(hops[0].place if hops else len(self.chain.places), choice)
        return [best[place] for place in sorted(best)]

    def __rich__(self) -> Table:
        tiers = self.chain.tiers
        table = Table(title=self.headline, title_justify="left", caption=self._caption(), caption_justify="left")
        table.add_column("")
        table.add_column("leaves the device after", overflow="fold")
        table.add_column("bytes", justify="right", no_wrap=True)
        for number, tier in enumerate(tiers):
            table.add_column(f"{tier.name}\n{tier.source}", justify="right", no_wrap=True)
            if number < len(self.chain.links):
                table.add_column(f"link\n{self.chain.links[number].source}", justify="right", no_wrap=True)
        table.add_column("in all", justify="right", no_wrap=True)
        extra = [name for name in ("joules", "accuracy") if any(self.choices.figures[name] > 0)]
        for name in (*extra, "memory"):
            table.add_column(name, justify="right", no_wrap=True)
        for choice in self.rows():
            table.add_row(*self._cells(choice, extra), style=self._style(choice))
        return table

    def _style(self, choice: int) -> str:
        """Bold for the plan's own way, dim for those that break a limit."""
        if choice == self.choice:
            return "bold"
        return "" if self.choices.allowed(self.limits)[choice] else "dim"

    def _cells(self, choice: int, extra: Sequence[str]) -> list[str]:
        figures = self.choices.figures_at(choice)
        used = len(self.choices.hops(choice))
        stages = []
        for number in range(used + 1):
            stages.append(seconds_text(figures[f"tier_{number}_s"]))
            if number < used:
                link_s = figures[f"link_{number}_s"] + self.chain.links[number].round_trip_s
                stages.append(seconds_text(link_s))
        stages += ["-"] * (2 * len(self.chain.links) + 1 - len(stages))
        return [
            "▶" if choice == self.choice else "",
            self.name_of(choice),
            f"{figures['bytes']:,.0f}",
            *stages,
            seconds_text(figures["latency_s"]),
            *(f"{figures['joules']:.3g} J" if name == "joules" else f"{figures['accuracy']:.1%}" for name in extra),
            f"{figures['memory_bytes'] / 1e6:.2f} MB",
        ]

    @property
    def headline(self) -> str:
        """One sentence: what is best, for what, and at which rates of the first link."""
        goal, figures = self.goal, self.figures
        if self.limits:
            goal += " within " + ", ".join(f"{name} {limit:.4g}" for name, limit in self.limits.items())
        value = {
            "latency": seconds_text(figures["latency_s"]),
            "energy": f"{figures['joules']:.3g} J",
            "bytes": f"{figures['bytes']:,.0f} bytes",
            "throughput": f"{1 / max(figures['slowest_s'], 1e-9):.3g} frames/s",
        }[self.goal]
        text = f"best for {goal}: {self.name_of(self.choice)}, {value}"
        if self.goal != "latency" or not self.chain.links:
            return text
        stretch = next((one for one in self.stretches() if one.choice == self.choice), None)
        if stretch is None:
            return text
        return f"{text}; fastest from {rate_text(stretch.low_bps)} to {rate_text(stretch.high_bps)}"

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about cuts where a file of the input has fewer bytes than any level that keeps as many answers."""
        return tuple(sentence(self.chain, place, level) for place, level in beaten(self.chain).items())

    def _caption(self) -> str:
        return "\n".join([*(f"{name}: {source}" for name, source in self.sources.items()), *self.warnings])

    def __str__(self) -> str:
        console = Console(file=io.StringIO(), width=140, color_system=None, force_jupyter=False)
        console.print(self)
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue().rstrip()

    def as_object(self) -> dict[str, Any]:
        """The plan as plain values, for JSON."""
        return {
            "model": self.model_id,
            "goal": self.goal,
            "limits": self.limits,
            "best": self._way(self.choice),
            "ways": [self._way(choice) for choice in self.rows()],
            "pareto": {"figures": ["latency_s", "bytes"], "ways": [self._way(choice) for choice in self.pareto()]},
            "fastest": [
                [
                    {"low_bps": one.low_bps, "high_bps": one.high_bps, "way": self.name_of(one.choice)}
                    for one in self.stretches(link)
                ]
                for link in range(len(self.chain.links))
            ],
            "sources": self.sources,
            "warnings": list(self.warnings),
        }

    def _way(self, choice: int) -> dict[str, Any]:
        figures = {
            name: None if math.isnan(value) else value for name, value in self.choices.figures_at(choice).items()
        }
        hops = [
            {"after": self.chain.places[hop.place].name, "level": self._level(hop.place, hop.level)}
            for hop in self.choices.hops(choice)
        ]
        return {"name": self.name_of(choice), "hops": hops, "figures": figures}


def seconds_text(seconds: float) -> str:
    """Seconds with a unit, three digits."""
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{1e3 * seconds:.3g} ms" if seconds >= 1e-4 else f"{1e6 * seconds:.3g} us"
