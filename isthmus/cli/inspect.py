"""`isthmus inspect MODEL|BUNDLE`: one HTML page about a model, its cuts and its plan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.networks import INPUT_HELP
from isthmus.cli.outputs import file_to_write


def inspect(
    target: Annotated[str, typer.Argument(help='A bundle, or a model as "module:function".', show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", callback=file_to_write, help="Where the page goes.")] = Path(
        "model.html"
    ),
    input_: Annotated[str | None, typer.Option("--input", help=f"Of a model: {INPUT_HELP}", show_default=False)] = None,
    link: Annotated[list[str] | None, typer.Option(help='"10Mbit 40ms": adds a plan. As in `isthmus plan`.')] = None,
    device: Annotated[str | None, typer.Option(help="As in `isthmus plan`.")] = None,
    edge: Annotated[str | None, typer.Option(help="As in `isthmus plan`.")] = None,
    cloud: Annotated[str | None, typer.Option(help="As in `isthmus plan`.")] = None,
    goal: Annotated[str, typer.Option(help="latency, energy, bytes or throughput.")] = "latency",
) -> None:
    """Draw a model: what a cut would send along its depth, its tensors, time per segment and the Pareto front.

    Example: isthmus inspect torchvision.models:resnet18 --input 1x3x224x224 --link "10Mbit 40ms" --device 20

    Example: isthmus inspect isthmus/builtin/digits.bundle --output digits.html
    """
    from rich.console import Console

    from isthmus.cli.networks import example_from, network_named
    from isthmus.cli.plan import machine_from
    from partitioner.inspection.page import page_of
    from partitioner.question import Question

    question = None
    if link:
        edges = False if edge is None else machine_from(edge)
        question = Question(machine_from(device), edges, machine_from(cloud), tuple(link), goal)
    planned = None
    with Console(stderr=True).status("looking at the model") as status:
        if Path(target).exists():
            from partitioner.inspection.of_bundle import seen_in_bundle
            from partitioner.question import plan_bundle
            from runtime.bundle import Bundle

            with Bundle.open(target) as bundle:
                if question is not None:
                    status.update("timing the bundle on this machine")
                    planned = plan_bundle(bundle, question)
                seen = seen_in_bundle(bundle, () if planned is None else planned.cuts)
        else:
            from partitioner.api import Partition
            from partitioner.capture import capture
            from partitioner.cuts import cuts_of, narrow
            from partitioner.inspection.of_graph import seen_in_graph

            example = example_from(input_)
            graph = capture(network_named(target), example)
            found = cuts_of(graph)
            if question is not None:
                status.update("exporting and timing the segments")
                planned = Partition(graph, found, narrow(graph, found)).answer(question)
            seen = seen_in_graph(target, graph, found, () if planned is None else planned.cuts)
    output.write_text(page_of(seen, planned), encoding="utf-8")
    typer.echo(f"{output}: written; open it in a browser")
