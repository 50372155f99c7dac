"""`isthmus plan MODEL|BUNDLE`: where to cut for a device, a link and a goal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.networks import INPUT_HELP
from isthmus.cli.outputs import bundle_to_write

if TYPE_CHECKING:
    from partitioner.planned import Planned
    from partitioner.question import Question

MACHINE_HELP = "A profile that `isthmus profile` wrote there, or a number: this machine, so many times slower."


def plan(
    target: Annotated[str, typer.Argument(help='A bundle, or a model as "module:function".', show_default=False)],
    link: Annotated[
        list[str], typer.Option(help='"10Mbit 40ms"; once per tier above the device, upwards.', show_default=False)
    ],
    input_: Annotated[str | None, typer.Option("--input", help=f"Of a model: {INPUT_HELP}", show_default=False)] = None,
    device: Annotated[str | None, typer.Option(help=f"{MACHINE_HELP} Without: this machine.")] = None,
    edge: Annotated[str | None, typer.Option(help="The same, of a tier between; needs a second link.")] = None,
    cloud: Annotated[str | None, typer.Option(help="The same, of the last tier.")] = None,
    goal: Annotated[str, typer.Option(help="latency, energy, bytes or throughput.")] = "latency",
    deadline_ms: Annotated[float | None, typer.Option(help="Limit on the time from input to answer.")] = None,
    memory_mb: Annotated[float | None, typer.Option(help="Limit on the device's memory.")] = None,
    joules: Annotated[float | None, typer.Option(help="Limit on the energy of one frame.")] = None,
    accuracy: Annotated[
        float | None, typer.Option(help="Least accuracy, 0 to 1, of levels that were measured.")
    ] = None,
    programs_ms: Annotated[
        float | None, typer.Option(min=0.0, help="What each link costs in the programs at its ends. Without: about 3.")
    ] = None,
    any_order: Annotated[
        bool, typer.Option("--any-order", help="Of a model: also try the best of all assignments, by minimum cut.")
    ] = False,
    save: Annotated[
        Path | None, typer.Option(callback=bundle_to_write, help="Write the bundle of this plan here (of a model).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find the best cut: every way to run the model on the tiers, with the source of each figure.

    Example: isthmus plan torchvision.models:mobilenet_v2 --input 1x3x224x224 --device pi4.json --link "10Mbit 40ms"

    Example: isthmus plan isthmus/builtin/digits.bundle --device 20 --link "1Mbit 30ms" --accuracy 0.97
    """
    from rich.console import Console

    from partitioner.question import PROGRAMS_S, Question

    limits = {
        "latency_s": None if deadline_ms is None else deadline_ms / 1e3,
        "memory_bytes": None if memory_mb is None else memory_mb * 1e6,
        "joules": joules,
        "accuracy": accuracy,
    }
    question = Question(
        device=machine_from(device),
        edge=False if edge is None else machine_from(edge),
        cloud=machine_from(cloud),
        links=tuple(link),
        goal=goal,
        limits={name: limit for name, limit in limits.items() if limit is not None},
        any_order=any_order,
        programs_s=PROGRAMS_S if programs_ms is None else programs_ms / 1e3,
    )
    planned = planned_for(target, input_, question, save)
    if as_json:
        typer.echo(json.dumps(planned.as_object()))
    elif (console := Console()).is_terminal:
        console.print(planned)
    else:
        typer.echo(str(planned))


def machine_from(text: str | None) -> str | float | None:
    """A number, or the path of a profile."""
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return text


def planned_for(target: str, input_: str | None, question: Question, save: Path | None = None) -> Planned:
    """The plan of a bundle, or of a model, which then may be saved."""
    from rich.console import Console

    from isthmus.cli.networks import example_from, network_named

    console = Console(stderr=True)
    if Path(target).exists():
        from partitioner.question import plan_bundle
        from runtime.bundle import Bundle

        if save is not None:
            raise typer.BadParameter("a bundle is there already; name a model to save one", param_hint="--save")
        if question.any_order:
            raise typer.BadParameter("a bundle's cuts are made already; name a model", param_hint="--any-order")
        with Bundle.open(target) as bundle, console.status("timing the bundle on this machine"):
            return plan_bundle(bundle, question)
    from functools import partial

    from partitioner.api import Partition
    from partitioner.capture import capture
    from partitioner.cuts import cuts_of, narrow, select

    example = example_from(input_)
    with console.status("capturing the model") as status:
        graph = capture(network_named(target), example)
        found = cuts_of(graph)
        parts = Partition(graph, found, select(graph, found, partial(narrow, graph)))
        status.update(f"exporting and timing {len(parts.cuts) + 1} segments")
        answer = parts.answer(question)
        if save is not None:
            status.update("writing the bundle")
            answer.save(save, model_id=target.replace(":", "."))
    return answer
