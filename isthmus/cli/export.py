"""`isthmus export MODEL`: a model as a bundle, cut where asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.networks import INPUT_HELP, MODEL_HELP


def export(
    model: Annotated[str, typer.Argument(help=MODEL_HELP, show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the bundle goes.")] = Path("model.bundle"),
    input_: Annotated[str | None, typer.Option("--input", help=INPUT_HELP, show_default=False)] = None,
    cut: Annotated[list[str] | None, typer.Option(help="Module to cut after; may be repeated.")] = None,
    most_tensors: Annotated[int, typer.Option(min=1, help="How many tensors may cross at one cut.")] = 1,
    every: Annotated[bool, typer.Option("--every", help="Cut everywhere, not only where less crosses.")] = False,
    time: Annotated[bool, typer.Option(help="Time the segments here: what predictions refer to.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Export a model in segments, compare them with the model, and write the bundle; all of it or nothing.

    Without --cut, it is cut wherever less crosses than at every cut before: what `isthmus profile` needs on a device.

    Example: isthmus export torchvision.models:mobilenet_v2 --input 1x3x224x224 -o mobilenet.bundle
    """
    from functools import partial

    from rich.console import Console

    from isthmus.cli.networks import example_from, network_named
    from partitioner.api import Partition
    from partitioner.bundle_writer import replace_manifest
    from partitioner.capture import capture
    from partitioner.cuts import cuts_of, narrow, select
    from runtime.bundle import Bundle
    from runtime.engines import engine_named
    from runtime.measure import time_parts

    example = example_from(input_)
    with Console(stderr=True).status("capturing the model") as status:
        graph = capture(network_named(model), example)
        found = cuts_of(graph, most_tensors)
        wanted = cut or (None if every else partial(narrow, graph))
        parts = Partition(graph, found, select(graph, found, wanted))
        status.update(f"exporting {len(parts.cuts) + 1} segments and comparing them with the model")
        manifest = parts.save(
            output, model_id=model.replace(":", "."), provenance={"model": model}, overwrite=overwrite
        )
        if time:
            from partitioner.profiling.timing import inputs_for

            status.update("timing the segments")
            with Bundle.open(output, verify=False) as bundle:
                profile = time_parts(bundle, engine_named("onnxruntime", 1), inputs_for(manifest.input, 4))
            manifest = manifest.model_copy(update={"profiles": (profile,)})
            replace_manifest(output, manifest)
    if as_json:
        cuts = [{"after": one.after, "bytes": one.tensor.nbytes} for one in manifest.cuts]
        typer.echo(json.dumps({"bundle": str(output), "cuts": cuts, "files": len(manifest.files)}))
        return
    total = sum(entry.bytes for entry in manifest.files.values())
    typer.echo(f"{output}: {len(manifest.segments)} segments, {total / 1e6:.1f} MB, equal to the model")
