"""`isthmus explain RUN FRAME`: why a frame went the way it went."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from protocol.errors import IsthmusError


class NothingToExplain(IsthmusError):
    """The history has no such frame, or was written without decisions. For a person to correct."""

    exit_code = 2


def explain(
    run: Annotated[Path, typer.Argument(help="History of a run, or its folder.", show_default=False)],
    frame: Annotated[int, typer.Argument(help="Number of the frame.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the frame's line as it is.")] = False,
) -> None:
    """Tell what was known when a frame was decided, what each choice promised, what was chosen and what came of it.

    Example: isthmus explain runs/today/history.jsonl 42
    """
    line = _line(run / "history.jsonl" if run.is_dir() else run, frame)
    typer.echo(json.dumps(line) if as_json else "\n".join(told(line)))


def _line(path: Path, frame: int) -> dict[str, Any]:
    if not path.is_file():
        raise NothingToExplain(f"there is no history at {str(path)!r}; give what the device's history.path said")
    with path.open() as lines:
        for text in lines:
            if text.endswith("\n"):
                line: dict[str, Any] = json.loads(text)
                if line["frame"] == frame:
                    return line
    raise NothingToExplain(f"{str(path)!r} has no frame {frame}; frames are numbered from 1")


def told(line: dict[str, Any]) -> list[str]:
    """The story of one frame, line by line."""
    by = f" by the {line['by']}" if line["by"] else ""
    in_time = "in time" if line["in_time"] else "not in time"
    story = [
        f"Frame {line['frame']}, captured {line['captured_s']:.2f} s into the run: {line['ended']}{by} after "
        f"{1e3 * line['latency_s']:.0f} of {1e3 * line['deadline_s']:.0f} ms ({in_time}).",
    ]
    if line["reason"]:
        story.append(f"Why: {line['reason']}.")
    if line["hedge_s"]:
        story.append(f"It went on locally for {1e3 * line['hedge_s']:.0f} ms while an answer was awaited.")
    known = line.get("decision")
    if known is None:
        return [*story, "Nothing was decided about it: it never came to the device's turn."]
    story.append(f"Decided with {1e3 * known['left_s']:.0f} ms left: {known['reason']}.")
    if known["link"] is not None:
        low, middle, high = (rate / 1e6 for rate in known["link"]["rate_bps"])
        story.append(
            f"Known of the uplink: {middle:.3g} Mbit/s (80 % between {low:.3g} and {high:.3g}), alive with "
            f"{100 * known['link']['alive']:.0f} %, {known['link']['backlog_bytes']} bytes queued, silent for "
            f"{1e3 * known['link']['silent_s']:.0f} ms."
        )
    story.append(f"{'choice':<26}{'bytes':>7}{'accuracy':>10}{'in time':>9}{'expected':>10}{'utility':>9}")
    return story + [_row(option) for option in known["options"]]


def _row(option: dict[str, Any]) -> str:
    level = "" if option["level"] is None else f", level {option['level']}"
    choice = f"{option['route']}, cut {option['cut']}{level}"
    utility = "-" if option["utility"] is None else f"{option['utility']:.3f}"
    seconds = f"{1e3 * option['expected_s']:.0f} ms"
    return (
        f"{choice:<26}{option['bytes']:>7}{option['accuracy']:>10.3f}{option['in_time']:>9.2f}{seconds:>10}{utility:>9}"
    )
