"""`isthmus explain RUN FRAME`, `explain run RUN`, `explain batch AT`: why a frame went its way, what a run came to,
why batches are as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from isthmus.cli.door import Tls, asked
from isthmus.cli.explain_run import NothingToExplain, history_of, lines_of, run

_STEPS = 12
"""Shown without --all."""
HINT = "add [operations] port = {port} to the tier's configuration and start it"


class _FrameUnlessNamed(TyperGroup):
    """`explain RUN FRAME` is `explain frame RUN FRAME`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["frame", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_FrameUnlessNamed,
    no_args_is_help=True,
    help="Say why a frame was sent where it was (RUN FRAME), what a run came to minute by minute (run RUN), or why a "
    "tier's batches are as they are (batch AT).",
)


@app.command()
def frame(
    run: Annotated[Path, typer.Argument(help="History of a run, or its folder.", show_default=False)],
    number: Annotated[int, typer.Argument(metavar="FRAME", help="Number of the frame.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the frame's line as it is.")] = False,
) -> None:
    """Tell what was known when a frame was decided, what each choice promised, what was chosen and what came of it.

    Example: isthmus explain runs/today/history.jsonl 42
    """
    line = _line(history_of(run), number)
    typer.echo(json.dumps(line) if as_json else "\n".join(told(line)))


app.command()(run)


@app.command()
def batch(
    at: Annotated[
        str, typer.Argument(help="operations.port of the tier's configuration, or host:port.", show_default=False)
    ],
    tls: Tls = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what the tier tells as it is.")] = False,
    last: Annotated[int, typer.Option(min=0, max=32, help="Batches to tell of, the newest first.")] = 10,
    every: Annotated[bool, typer.Option("--all", help="Tell of every step, not only of those done most.")] = False,
) -> None:
    """Tell what a running tier's batcher has learnt of its steps, and why its last batches were formed as they were.

    Example: isthmus explain batch 9201

    Example: isthmus explain batch edge.local:9201 --tls pki/office
    """
    known: dict[str, Any] = asked(at, "/batching", tls, HINT)
    typer.echo(json.dumps(known) if as_json else "\n".join(batches_told(known, last, every=every)))


def batches_told(known: dict[str, Any], last: int, *, every: bool = False) -> list[str]:
    """The page, from what a tier tells: the steps that were done for most frames first."""
    steps = sorted(known["steps"].items(), key=lambda step: -step[1]["batches"] * step[1]["mean_size"])
    shown_steps = steps if every else steps[:_STEPS]
    story = [
        f"{known['taken']} frames taken, {known['refused']} refused as too many, {known['displaced']} pushed out, "
        f"{known['late']} too late; {known['queued']} wait now, and one more would wait {_ms(known['wait_s'])}.",
        f"A thread was left idle for company {known['waits']} times.",
        "",
        f"{'step':<32}{'batches':>9}{'mean size':>11}{'best size':>11}  cost of a batch, by its size",
    ]
    for step, learnt in shown_steps:
        best = "alone" if not learnt["can_be_batched"] else str(learnt["efficient_size"])
        costs = "  ".join(f"{size}: {_ms(seconds)}" for size, seconds in learnt["seconds_by_size"].items())
        story.append(f"{step:<32}{learnt['batches']:>9}{learnt['mean_size']:>11.2f}{best:>11}  {costs}")
    if len(shown_steps) < len(steps):
        story.append(f"... and {len(steps) - len(shown_steps)} more with --all")
    shown = known["last"][:last]
    if shown:
        story += ["", "The last batches, the newest first:"]
    return story + [_batch_told(formed) for formed in shown]


def _batch_told(formed: dict[str, Any]) -> str:
    took = "not done yet" if formed["took_s"] is None else f"took {_ms(formed['took_s'])}"
    idle = f", after {_ms(formed['waited_s'])} of waiting for company" if formed["waited_s"] else ""
    return (
        f"{formed['ago_s']:.1f} s ago: {formed['step']}, {formed['size']} of {formed['in_line']} in line, "
        f"{formed['here']} here{idle}: {formed['why']}; {took}, {_ms(formed['expected_s'])} expected."
    )


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms"


def _line(path: Path, frame: int) -> dict[str, Any]:
    line = next((line for line in lines_of(path) if line.get("frame") == frame), None)
    if line is None:
        raise NothingToExplain(f"{str(path)!r} has no frame {frame}; frames are numbered from 1")
    return line


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
