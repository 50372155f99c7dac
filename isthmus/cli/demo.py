"""`isthmus demo`: the whole line on one machine, on a link that moves, with a report."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.outputs import file_to_write
from protocol.errors import IsthmusError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testbed.alternatives import Alternative
    from testbed.comparison import Progress
    from testbed.figures import RunRecord
    from testbed.setting import Setting


MARK = "isthmus-demo"
"""A file in the folders that a demo made, and the next one may empty."""


class BadWindow(IsthmusError):
    """A trace window that is not FROM:TO."""

    exit_code = 2


class BadFolder(IsthmusError):
    """A folder for the runs that holds something else. For a person to correct."""

    exit_code = 2


def demo(
    seconds: Annotated[float, typer.Option(min=4, max=600, help="Length of each of the four runs.")] = 20.0,
    trace: Annotated[
        Path | None, typer.Option(help="Play a packet-delivery trace (Mahimahi's format) instead of the moving link.")
    ] = None,
    window: Annotated[str, typer.Option(metavar="FROM:TO", help="Seconds of the trace to play.")] = "0:60",
    bundle: Annotated[Path | None, typer.Option(help="Another bundle than the built-in one.")] = None,
    report: Annotated[Path, typer.Option(callback=file_to_write, help="Where the HTML report goes.")] = Path(
        "report.html"
    ),
    work: Annotated[Path, typer.Option(help="Histories, link records and logs of the runs.")] = Path("runs/demo"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON, nothing else.")] = False,
) -> None:
    """Play a moving link against the real programs: adaptive, then three fixed ways of doing it.

    Starts a cloud, an edge, an emulated link and a slow device as processes on ports that the system picks, feeds ten
    frames a second with a deadline of 250 ms, and writes one self-contained report. Needs no GPU, root or network.

    Examples:

      isthmus demo

      isthmus demo --trace ATT-LTE-driving.up --window 770:880

      isthmus demo --json --seconds 12
    """
    from isthmus.builtin import demo as played
    from testbed.figures import figures
    from testbed.report import write_report

    link = played.moving_link(seconds) if trace is None else played.traced_link(trace, *_window(window))
    _empty(work)
    command = shlex.join(["isthmus", *sys.argv[1:]])
    setting = played.make_setting(link, work, bundle=bundle or played.BUNDLE, command=command)
    records = played.play(setting, work) if as_json else _show(setting, work)
    write_report(report, records)
    found = {record.alternative.name: figures(record) for record in records}
    if as_json:
        typer.echo(json.dumps({"setting": _stated(setting), "alternatives": found}))
        return
    _print_figures(setting, found)
    typer.echo(f"Report: {report}")


def _empty(work: Path) -> None:
    """Make the folder, without what an earlier demo left there; what is not a demo's is never removed."""
    if work.is_dir() and any(work.iterdir()) and not (work / MARK).is_file():
        raise BadFolder(f"--work {str(work)!r} holds files, and none is of a demo; name a new or empty folder")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    (work / MARK).touch()


def _window(given: str) -> tuple[float, float]:
    first, separator, last = given.partition(":")
    try:
        from_s, to_s = float(first), float(last)
    except ValueError:
        separator = ""
    if not separator or not 0 <= from_s < to_s:
        raise BadWindow(f"--window {given!r} is not FROM:TO in seconds; write for example --window 770:880")
    return from_s, to_s


def _show(setting: Setting, work: Path) -> Sequence[RunRecord]:
    """Play with a live table in the terminal."""
    from rich.console import Console
    from rich.live import Live

    from isthmus.builtin import demo as played
    from isthmus.cli.live import LiveTable
    from runtime.bundle import Bundle

    console = Console()
    console.print(_told(setting))
    with Bundle.open(setting.bundle) as opened:
        manifest = opened.manifest
    tables: list[LiveTable] = []
    with Live(console=console, refresh_per_second=8, transient=True) as live:

        def on_start(alternative: Alternative) -> None:
            tables.append(LiveTable(setting, manifest, alternative.name, alternative.told))
            live.update(tables[-1])

        def on_progress(progress: Progress) -> None:
            tables[-1].take(progress)

        return played.play(setting, work, on_start=on_start, on_progress=on_progress)


def _stated(setting: Setting) -> dict[str, object]:
    return {
        "frames": setting.frames,
        "rate_hz": setting.rate_hz,
        "deadline_s": setting.deadline_s,
        "device_slowdown": round(setting.slowdown, 1),
        "uplink": setting.uplink.model_dump(mode="json", exclude_defaults=True),
        "cloud_extra_s": setting.cloud_extra_s,
    }


def _told(setting: Setting) -> str:
    return (
        f"{setting.frames} frames at {setting.rate_hz:g}/s, deadline {setting.deadline_s * 1e3:.0f} ms; the device "
        f"computes {setting.slowdown:.0f} times slower than this machine: the whole model takes it about 200 ms"
    )


def _print_figures(setting: Setting, found: dict[str, dict[str, float]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", "mean latency", "p95", "missed", "right in time", "bytes/frame", "lost", title=_told(setting))
    for column in table.columns[1:]:
        column.justify = "right"
    for name, own in found.items():
        table.add_row(
            name,
            f"{own['mean_latency_s'] * 1e3:.0f} ms",
            f"{own['p95_latency_s'] * 1e3:.0f} ms",
            f"{own['deadline_miss_rate']:.1%}",
            f"{own['accuracy']:.1%}",
            f"{own['bytes_per_frame']:,.0f}",
            f"{own['frames_lost']:.0f}",
        )
    Console().print(table)
