"""The page: title, facts, drawings and tables, one file."""

from __future__ import annotations

from importlib.resources import files

from partitioner.inspection import charts
from partitioner.inspection.html import document, table
from partitioner.inspection.svg import bytes_text, element
from partitioner.inspection.values import Seen
from partitioner.planned import Planned, seconds_text


def page_of(seen: Seen, planned: Planned | None = None) -> str:
    """HTML of a model, and of its plan if there is one. Shows in any browser, from a file, offline."""
    style = (files("partitioner.inspection") / "page.css").read_text(encoding="utf-8")
    body = [
        element("h1", text=seen.title),
        element("dl", *(element("div", element("dt", text=a), element("dd", text=b)) for a, b in seen.facts)),
        *_section(
            "Where it is narrow",
            "What a cut behind each operator would send. Dots are cuts of a single tensor; below, big dots compute and "
            "arcs are tensors that skip operators.",
            charts.depth(seen),
        ),
    ]
    if planned is not None:
        body += _planned(planned)
    body += _section("Cuts", "", _cut_table(seen))
    return document(f"{seen.title} - isthmus", style, *body)


def _section(title: str, told: str, *content: str) -> list[str]:
    """Drawings and tables move sideways on a narrow screen, by keyboard too."""
    parts = [
        element("div", part, class_="wide", role="region", aria_label=f"{title}, {number}", tabindex=0)
        for number, part in enumerate(content, 1)
    ]
    return [element("section", element("h2", text=title), element("p", text=told) if told else "", *parts)]


def _planned(planned: Planned) -> list[str]:
    names = [place.name for place in planned.chain.places]
    columns = [
        (tier.name, [row[number] for row in planned.chain.seconds]) for number, tier in enumerate(planned.chain.tiers)
    ]
    sources = element("ul", *(element("li", text=f"{name}: {source}") for name, source in planned.sources.items()))
    return [
        *_section("Plan", planned.headline, _ways_table(planned), sources),
        *_section(
            "Every way to run it",
            "Time against bytes; the line joins the ways that no other beats in both (the Pareto front).",
            charts.ways(planned),
        ),
        *_section("Time per segment", "A segment is named after the cut in front of it.", charts.bars(names, columns)),
    ]


def _ways_table(planned: Planned) -> str:
    stages = [(f"{tier.name} ({tier.source})", f"tier_{n}_s", 0.0) for n, tier in enumerate(planned.chain.tiers)]
    for number, link in reversed(list(enumerate(planned.chain.links))):
        stages.insert(number + 1, (f"link ({link.source})", f"link_{number}_s", link.round_trip_s))
    head = ["leaves the device after", "bytes", *(name for name, _, _ in stages), "in all", "memory"]
    rows, choices = [], planned.rows()
    for choice in choices:
        figures, used = planned.choices.figures_at(choice), 2 * len(planned.choices.hops(choice)) + 1
        cells = [
            planned.name_of(choice),
            bytes_text(figures["bytes"]),
            *(seconds_text(figures[name] + delay_s) for _, name, delay_s in stages[:used]),
            *("-" for _ in stages[used:]),
            seconds_text(figures["latency_s"]),
            bytes_text(figures["memory_bytes"]),
        ]
        rows.append(cells)
    return table(head, rows, [number for number, choice in enumerate(choices) if choice == planned.choice])


def _cut_table(seen: Seen) -> str:
    rows = [[cut.name, cut.shape, bytes_text(cut.bytes), f"{cut.share:.1%}"] for cut in seen.cuts]
    chosen = [number for number, cut in enumerate(seen.cuts) if cut.chosen]
    return table(["after", "tensor", "bytes", "work in front"], rows, chosen)
