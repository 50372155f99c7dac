"""Runs of scenarios as one self-contained HTML page: no request leaves it, light and dark, readable on a phone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

from testbed import plots
from testbed.errors import TestbedError
from testbed.figures import RunRecord
from testbed.report import STYLE, both, card, definitions, direction_told, ms, percent, scrolled
from testbed.results.figures import ALL, Verdict, pooled
from testbed.results.intervals import Interval, interval
from testbed.running import ScenarioRun
from testbed.scenarios.scenario import FIGURES

MOST_DEVICES = 6
"""Devices whose frames are drawn; the figures have all."""
MOST_CURVES = 6
"""In one plot; the style sheet has so many colours."""

UNKNOWN = "–"


def _share(value: float) -> str:
    return f"{value:.2f}"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _joules(value: float) -> str:
    return f"{value:.3g} J"


COLUMNS: Sequence[tuple[str, str, Callable[[float], str]]] = (
    ("mean_latency_s", "mean latency", ms),
    ("p95_latency_s", "95th percentile", ms),
    ("deadline_miss_rate", "deadline misses", percent),
    ("accuracy", "accuracy in time", percent),
    ("by_device", "by device", percent),
    ("by_edge", "by edge", percent),
    ("by_cloud", "by cloud", percent),
    ("bytes_per_frame", "bytes per frame", _count),
    ("joules_per_frame", "energy per frame", _joules),
    ("fairness", "fairness", _share),
    ("frames", "frames", _count),
    ("frames_lost", "lost", _count),
)
"""(figure, heading, how it is told)"""


def write_page(path: Path, runs: Sequence[ScenarioRun]) -> None:
    """Write the page of one run, or of several side by side.

    Raises:
        TestbedError: the file cannot be written.
    """
    try:
        path.write_text(page(runs), encoding="utf-8")
    except OSError as exc:
        raise TestbedError(f"the page {str(path)!r} cannot be written: {exc.strerror}; choose another path") from exc


def page(runs: Sequence[ScenarioRun]) -> str:
    """The page as text; see `write_page`."""
    first = runs[0]
    title = first.name if len(runs) == 1 else f"{len(runs)} runs compared"
    told = {run.name: run.scenario.about for run in runs}
    lead = first.scenario.about if len(runs) == 1 else " ".join(f"{name}: {about}" for name, about in told.items())
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="lead">{escape(lead)}</p>',
        card(_table(runs)),
        f'<p class="note">{escape(_repeated(runs))} Definitions are at the end.</p>',
        "" if len(runs) == 1 else "<h2>Side by side</h2>" + _intervals(runs) + _curves(runs),
        *(_run(run, alone=len(runs) == 1) for run in runs),
        f"<h2>Run it again</h2><pre>{escape(first.command)}</pre>" if first.command else "",
        "<h2>Definitions</h2>",
        card(definitions({heading: FIGURES[name] for name, heading, _ in COLUMNS})),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>isthmus testbed: {escape(title)}</title><style>{STYLE.read_text(encoding='utf-8')}</style></head>"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


def values(run: ScenarioRun, device: str, figure: str) -> list[float]:
    """A figure in each repetition; nothing where it is not known."""
    return [one.figures[device][figure] for one in run.repetitions if figure in one.figures[device]]


def shown_devices(run: ScenarioRun) -> list[str]:
    """Names to show figures of: `ALL` alone where there is one device, and in place of a table that has all of them."""
    names = list(run.repetitions[0].figures)
    if len(names) == 2:
        return [ALL]
    return [name for name in names if name not in run.scenario.device or len(run.scenario.device) > 1]


def cells(run: ScenarioRun, device: str) -> list[str]:
    """A device's row: means over the repetitions, with half their confidence intervals."""
    known = [(values(run, device, name), told) for name, _, told in COLUMNS]
    return [_told(interval(found), told) if found else UNKNOWN for found, told in known]


def _told(known: Interval, told: Callable[[float], str]) -> str:
    return told(known.mean) if known.half is None else f"{told(known.mean)} ± {told(known.half)}"


def _repeated(runs: Sequence[ScenarioRun]) -> str:
    counts = sorted({len(run.repetitions) for run in runs})
    if counts == [1]:
        return "One repetition: how far the figures would move in another is not known."
    return (
        f"{' or '.join(map(str, counts))} repetitions; ± is half of the 95 % confidence interval of the mean "
        "(Student's t)."
    )


def _table(runs: Sequence[ScenarioRun]) -> str:
    """A row for each figure, a column for each device of one run or for each run."""
    alone = len(runs) == 1
    columns = [(run, device) for run in runs for device in (shown_devices(run) if alone else [ALL])]
    heads = "".join(
        f'<th scope="col">{escape(device if alone and device != ALL else run.title)}'
        f"<small>{escape(run.backend)}</small></th>"
        for run, device in columns
    )
    told = [cells(run, device) for run, device in columns]
    rows = "".join(
        f"<tr><td>{heading}</td>{''.join(f'<td>{one[place]}</td>' for one in told)}</tr>"
        for place, (_, heading, _) in enumerate(COLUMNS)
        if any(one[place] != UNKNOWN for one in told)
    )
    return scrolled("figures", f'<table class="figures"><tr><th scope="col">figure</th>{heads}</tr>{rows}</table>')


def _intervals(runs: Sequence[ScenarioRun]) -> str:
    shown = ("mean_latency_s", "deadline_miss_rate", "accuracy", "bytes_per_frame")
    told = {name: (heading, how) for name, heading, how in COLUMNS}
    cards = []
    for name in shown:
        heading, how = told[name]
        known = [(run.title, interval(values(run, ALL, name))) for run in runs]
        cards.append(card(f"<p>{heading}</p>" + plots.whiskers(known, how, heading)))
    return f'<div class="pair">{"".join(cards)}</div>'


def _curves(runs: Sequence[ScenarioRun]) -> str:
    """How soon all frames of each run's first repetition were answered, in one plot."""
    together = [[record for group in run.repetitions[0].records.values() for record in group] for run in runs]
    return _distribution(together, [run.title for run in runs])


def _distribution(groups: Sequence[Sequence[RunRecord]], names: Sequence[str]) -> str:
    """A curve for each group of devices."""
    shown = [pooled(group, f"run-{number}") for number, group in enumerate(groups[:MOST_CURVES], 1)]
    keys = "".join(
        f'<span class="legend"><span class="key" style="background:{plots.colour(record)}"></span>{escape(name)}</span>'
        for record, name in zip(shown, names, strict=False)
    )
    hidden = f" {len(groups) - len(shown)} more are not drawn." if len(groups) > len(shown) else ""
    return (
        "<h2>How many frames were answered within a time</h2>"
        '<p class="note">Of all captured frames of the first repetition; a curve that ends below 100 % left frames '
        f"unanswered.{hidden}</p>"
        + card(f"<p>{keys}</p>" + both(lambda width: plots.distribution(shown, width)))
    )  # fmt: skip


def _run(run: ScenarioRun, *, alone: bool) -> str:
    heading = "" if alone else f'<h2 class="run">{escape(run.title)}</h2>'
    setting = card(definitions(_setting(run)))
    return "".join([
        heading,
        _expectations(run.verdicts),
        *(_link(run, name, alone=alone) for name in run.scenario.link),
        _chosen(run),
        "<h2>Setting</h2>" + setting if alone else f"<details><summary>Setting</summary>{setting}</details>",
    ])  # fmt: skip


def _expectations(verdicts: Sequence[Verdict]) -> str:
    if not verdicts:
        return ""
    words = [("holds" if one.holds else "missed", one.told) for one in verdicts]
    items = "".join(f'<li class="{word}">{word}: {escape(told)}</li>' for word, told in words)
    return f'<h2>Expectations</h2><section class="card"><ul class="verdicts">{items}</ul></section>'


def _link(run: ScenarioRun, name: str, *, alone: bool) -> str:
    """The first repetition on one link: its capacity, its faults, and the latency of every frame."""
    first = run.repetitions[0]
    records = [
        record
        for table, group in first.records.items()
        if run.scenario.device[table].link == name
        for record in group
    ]  # fmt: skip
    if not records:
        return ""
    drawn, repeated = records[:MOST_DEVICES], len(run.repetitions) > 1
    hidden = f" {len(records) - len(drawn)} more devices are not drawn." if len(records) > len(drawn) else ""
    marks = [(one.begins_s, run.scenario.seconds if one.ends_s is None else one.ends_s, one.told)
             for one in first.occurrences]  # fmt: skip
    return "".join([
        f"<h2>Latency over link {escape(name)}{', first repetition' if repeated else ''}</h2>",
        '<p class="note">One mark for each captured frame: a dot was answered in time, a ring too late, a cross not at '
        f"all. The dashed line is the deadline; the link is dead where the ground is red.{hidden}</p>",
        card(both(lambda width: plots.timeline(drawn, width, marks))),
        _distribution([[one] for one in records], [one.alternative.name for one in records]) if alone else "",
    ])  # fmt: skip


def _chosen(run: ScenarioRun) -> str:
    record: RunRecord = next(iter(run.repetitions[0].records.values()))[0]
    return "".join([
        f"<h2>What {escape(record.alternative.name)} chose</h2>",
        '<p class="note">Frames that were replaced before the device took them up have no choice.</p>',
        card(both(lambda width: plots.choices(record, width))),
    ])  # fmt: skip


def _setting(run: ScenarioRun) -> Mapping[str, str]:
    scenario = run.scenario
    played = scenario.played()
    found = {
        "backend": run.backend,
        "seed": f"{scenario.seed}, and the next for each further repetition",
        "bundle": Path(scenario.bundle).name,
        "tiers": ", ".join(scenario.tiers),
    }
    for name, device in scenario.device.items():
        speed = (
            f"slowed down {device.slowdown:g} times" if device.slowdown else f"whole model in {device.whole_model_s} s"
        )
        found[f"device {name}"] = (
            f"{device.count} over {device.link}, {device.rate_hz:g} frames/s, deadline {ms(device.deadline_s)}, "
            f"policy {device.policy.name}, {speed}"
        )
    for name in scenario.link:
        link = played.links[name]
        found[f"link {name}, up"] = direction_told(link.uplink)
        found[f"link {name}, down"] = direction_told(link.downlink)
        for condition in link.conditions:
            facts = condition.model_dump(exclude_defaults=True, exclude={"kind", "seed"})
            found[f"link {name}, {condition.kind}"] = ", ".join(f"{key} {value}" for key, value in facts.items())
    return found
