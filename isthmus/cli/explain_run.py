"""`isthmus explain run RUN`: what a run came to minute by minute, beside the best there was, and a picture of it."""

from __future__ import annotations

import json
from collections.abc import Set
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.outputs import file_to_write
from protocol.errors import IsthmusError

if TYPE_CHECKING:
    from adaptation.plan import Choice
    from testbed.simulation.retold import Minute


FRAME = frozenset({"frame", "captured_s", "ended", "deadline_s", "decision"})
"""Keys that the lines of every history have, among others."""
LINK = frozenset({"at_s", "up_bytes"})
"""And those of an emulated link's record."""


class NothingToExplain(IsthmusError):
    """The history has no such frame, or was written without decisions. For a person to correct."""

    exit_code = 2


def run(
    run: Annotated[Path, typer.Argument(help="History of a run, or its folder.", show_default=False)],
    plot: Annotated[
        Path | None, typer.Option(callback=file_to_write, help="Draw link, choices, latencies and regret as SVG.")
    ] = None,
    link: Annotated[Path | None, typer.Option(help="Record of the emulated link, to draw what it carried.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the minutes as JSON.")] = False,
) -> None:
    """Tell minute by minute what a run came to, and what the best choices would have come to on the link as it looked.

    Examples:

      isthmus explain run runs/today/history.jsonl

      isthmus explain run runs/demo/adaptive.history.jsonl --link runs/demo/adaptive.link.jsonl --plot run.svg
    """
    from testbed.simulation.retold import minutes
    from testbed.simulation.retold_plot import picture

    lines = lines_of(history_of(run))
    carried = [] if link is None else lines_of(link, LINK)
    told_minutes = minutes(lines)
    if plot is not None:
        plot.write_text(picture(lines, told_minutes, carried), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps([_minute(minute) for minute in told_minutes]))
        return
    typer.echo(f"{'from':>7}{'frames':>8}{'in time':>9}{'utility':>9}{'best':>8}{'regret':>9}  most chosen")
    for minute in told_minutes:
        most = ", ".join(f"{_choice(choice)} ({count})" for choice, count in minute.choices.most_common(2))
        typer.echo(
            f"{minute.begins_s:>5.0f} s{minute.frames:>8}{minute.in_time:>9}{minute.utility:>9.3f}{minute.best:>8.3f}"
            f"{100 * minute.regret:>7.1f} %  {most}"
        )


def _minute(minute: Minute) -> dict[str, Any]:
    return {
        "begins_s": minute.begins_s,
        "frames": minute.frames,
        "in_time": minute.in_time,
        "utility": round(minute.utility, 5),
        "best": round(minute.best, 5),
        "regret": round(minute.regret, 5),
        "choices": {_choice(choice): count for choice, count in minute.choices.most_common()},
    }


def _choice(choice: Choice) -> str:
    return f"{choice.route}, cut {choice.cut}" + ("" if choice.level is None else f", level {choice.level}")


def history_of(run: Path) -> Path:
    """The history in a run's folder, or the file itself."""
    return run / "history.jsonl" if run.is_dir() else run


def lines_of(path: Path, keys: Set[str] = FRAME) -> list[dict[str, Any]]:
    """Every whole line of a history; or of another record, whose lines have these keys.

    Raises:
        NothingToExplain: there is none, or it is another file.
    """
    if not path.is_file():
        raise NothingToExplain(f"there is no history at {str(path)!r}; give what the device's history.path said")
    rows = path.read_bytes().split(b"\n")[:-1]  # one that is being written, or was when the device ended, is left out
    found = []
    for number, row in enumerate(rows, start=1):
        try:
            line = json.loads(row)
        except ValueError:
            line = None
        if isinstance(line, dict) and "event" in line:  # a record's first: when it began
            continue
        if not isinstance(line, dict) or not keys <= line.keys():
            raise NothingToExplain(
                f"line {number} of {str(path)!r} has no {', '.join(sorted(keys))}; name another file"
            )
        found.append(line)
    if not found:
        raise NothingToExplain(f"{str(path)!r} holds no line; was the run ended before its first frame?")
    return found
