"""`isthmus top`: a running agent in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.door import Tls, asked

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

SHOWN = 15
HINT = "add [status] port = {port} to the agent's configuration and start it"


def top(
    at: Annotated[
        str, typer.Argument(help="status.port of the agent's configuration, or host:port.", show_default=False)
    ],
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
    tls: Tls = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, once.")] = False,
) -> None:
    """Show a running agent: its tiers, what it believes of the link, and its last frames. Ctrl-C ends it.

    Example: isthmus top 9477

    Example: isthmus top camera.local:9477 --tls pki/office
    """
    import json
    import time

    status, frames = asked(at, "/status", tls, HINT), asked(at, "/frames", tls, HINT)
    if as_json:
        typer.echo(json.dumps({"status": status, "frames": frames}))
        return
    from rich.console import Console
    from rich.live import Live

    if once:
        Console().print(picture(status, frames, 0.0))
        return
    with Live(picture(status, frames, 0.0), screen=True, auto_refresh=False) as live:
        try:
            while True:
                time.sleep(every)
                before, status = status, asked(at, "/status", tls, HINT)
                rate_hz = (status["frames"] - before["frames"]) / max(status["up_s"] - before["up_s"], 1e-3)
                live.update(picture(status, asked(at, "/frames", tls, HINT), rate_hz), refresh=True)
        except KeyboardInterrupt:
            return


def picture(status: Mapping[str, Any], frames: Sequence[Mapping[str, Any]], rate_hz: float) -> RenderableType:
    """The page, from what the agent tells."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    ended = max(status["answered"] + status["expired"] + status["dropped"], 1)
    uplink = status["uplink_bps"]
    facts = [
        f"{status['model']} {status['bundle']}   up {status['up_s']:,.0f} s   {rate_hz:.1f} frames/s",
        f"frames {status['frames']:,}   answered {status['answered']:,}   expired {status['expired']:,}   "
        f"dropped {status['dropped']:,}   in time {status['in_time'] / ended:.1%}   open {status['open']}",
        "uplink " + ("unknown" if uplink is None else f"about {uplink / 1e6:.2f} Mbit/s") + "   " + _kept(status),
    ]
    tiers = Text("   ").join(
        Text(f"{name} {'up' if up else 'away'}", style="green" if up else "red") for name, up in status["tiers"].items()
    )
    troubles = [Text(trouble, style="yellow") for trouble in status["troubles"]]
    lines = [Text(fact) for fact in facts]
    return Panel(Group(*lines, tiers, *troubles, _table(status, frames)), title=f"[bold]{status['name']}[/bold]")


def _kept(status: Mapping[str, Any]) -> str:
    spool = status["spool"]
    kept = "" if spool is None else f"spool {spool['frames']:,} frames, {spool['bytes'] / 1e6:.1f} MB   "
    return kept + "   ".join(f"{name} {one['delivered']:,}+{one['waiting']}" for name, one in status["sinks"].items())


def _table(status: Mapping[str, Any], frames: Sequence[Mapping[str, Any]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("frame", "source", "by", "cut", "level", "bytes", "latency", "answer", box=None, expand=True)
    for column in (0, 4, 5, 6):
        table.columns[column].justify = "right"
    for line in frames[:SHOWN]:
        whole = line["cut"] == status["segments"]
        told = Text(
            f"{line['answer']} ({line['confidence']:.0%})" if line["answer"] is not None else
            line["ended"] if line["by"] else f"{line['ended']}: {line['reason']}",
            style="green" if line["in_time"] else "yellow" if line["by"] else "red",
        )  # fmt: skip
        table.add_row(
            str(line["frame"]), line["source"], "exit" if line["exit"] else str(line["by"] or "-"),
            "-" if line["cut"] is None else "whole" if whole else str(line["cut"]),
            "" if line["level"] is None else str(line["level"]), f"{line['payload_bytes']:,}",
            f"{line['latency_s'] * 1e3:,.0f} ms", told,
        )  # fmt: skip
    return table
