"""`isthmus cuts MODEL`: where a model can be cut."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.networks import INPUT_HELP, MODEL_HELP

if TYPE_CHECKING:
    from partitioner.cuts import Cut


def cuts(
    model: Annotated[str, typer.Argument(help=MODEL_HELP, show_default=False)],
    input_: Annotated[str | None, typer.Option("--input", help=INPUT_HELP, show_default=False)] = None,
    most_tensors: Annotated[int, typer.Option(min=1, help="How many tensors may cross at one cut.")] = 1,
    narrow: Annotated[bool, typer.Option("--narrow", help="Only cuts that carry less than all before them.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List every place where a model can be cut: what crosses, and how much of the work lies in front.

    Example: isthmus cuts torchvision.models:mobilenet_v2 --input 1x3x224x224 --narrow
    """
    from rich.console import Console

    from isthmus.cli.networks import example_from, network_named
    from partitioner.api import CutTable
    from partitioner.capture import capture
    from partitioner.cuts import cuts_of
    from partitioner.cuts import narrow as narrow_of

    example = example_from(input_)
    with Console(stderr=True).status("capturing the model"):
        graph = capture(network_named(model), example)
    found = cuts_of(graph, most_tensors)
    if narrow:
        found = narrow_of(graph, found)
    if as_json:
        typer.echo(json.dumps({"model": model, "macs": graph.macs, "cuts": [as_object(cut) for cut in found]}))
    else:
        Console().print(CutTable(found))


def as_object(cut: Cut) -> dict[str, object]:
    """A cut as plain values."""
    return {
        "after": cut.name,
        "also": list(cut.also),
        "dtype": str(cut.dtype).removeprefix("torch."),
        "shape": list(cut.shape),
        "tensors": len(cut.live),
        "bytes": cut.bytes,
        "macs_before": cut.macs_before,
        "macs_after": cut.macs_after,
    }
