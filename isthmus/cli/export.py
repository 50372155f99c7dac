"""`isthmus export MODEL`: a model as a bundle, cut where asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.heads import HeadOptions, as_object, options_from, told
from isthmus.cli.networks import INPUT_HELP, MODEL_HELP
from isthmus.cli.outputs import bundle_to_write

if TYPE_CHECKING:
    from collections.abc import Callable

    from partitioner.api import Partition
    from partitioner.precision import Narrowed, Samples
    from runtime.manifest import Manifest

    Save = Callable[..., Manifest]


def export(
    model: Annotated[str, typer.Argument(help=MODEL_HELP, show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", callback=bundle_to_write, help="Where the bundle goes.")
    ] = Path("model.bundle"),
    input_: Annotated[str | None, typer.Option("--input", help=INPUT_HELP, show_default=False)] = None,
    cut: Annotated[list[str] | None, typer.Option(help="Module to cut after; may be repeated.")] = None,
    most_tensors: Annotated[int, typer.Option(min=1, help="How many tensors may cross at one cut.")] = 1,
    every: Annotated[bool, typer.Option("--every", help="Cut everywhere, not only where less crosses.")] = False,
    head: Annotated[str | None, typer.Option(help="int8 or float16: fewer bits in front of the last cut.")] = None,
    head_after: Annotated[str | None, typer.Option(help="The cut where that head ends, if not the last.")] = None,
    samples: Annotated[
        Path | None, typer.Option(help="Inputs for the head: a folder of pictures, or a .npy file.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Their classes, a .npy file. Without it: agreement.")] = None,
    metric: Annotated[str, typer.Option(help="What judges the head's answers.")] = "top-1",
    postprocessor: Annotated[
        str | None, typer.Option(help="Installed here and on the tiers: makes the answers of the model's outputs.")
    ] = None,
    time: Annotated[bool, typer.Option(help="Time the segments here: what predictions refer to.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Export a model in segments, compare them with the model, and write the bundle; all of it or nothing.

    Without --cut, it is cut wherever less crosses than at every cut before: what `isthmus profile` needs on a device.

    Example: isthmus export torchvision.models:mobilenet_v2 --input 1x3x224x224 -o mobilenet.bundle

    Example: isthmus export networks:photo --input uint8:1x224x224x3 --cut features.13 --head int8 --samples photos/
    """
    from functools import partial

    from rich.console import Console

    from isthmus.cli.networks import example_from, network_named
    from partitioner.api import Partition
    from partitioner.capture import capture
    from partitioner.cuts import cuts_of, narrow, select

    asked = options_from(head, head_after, samples, labels, metric)
    example = example_from(input_)
    given = None if asked is None else asked.read(example[0])
    with Console(stderr=True).status("capturing the model") as status:
        graph = capture(network_named(model), example)
        found = cuts_of(graph, most_tensors)
        wanted = cut or (None if every else partial(narrow, graph))
        parts = Partition(graph, found, select(graph, found, wanted))
        status.update(f"exporting {len(parts.cuts) + 1} segments and comparing them with the model")
        save = partial(
            parts.save, model_id=model.replace(":", "."), provenance={"model": model}, postprocessor=postprocessor
        )
        made = None
        if asked is None or given is None:
            manifest = save(output, overwrite=overwrite)
        else:
            made = _narrowed(parts, save, output, asked, given, overwrite=overwrite)
            manifest = made.manifest
        if time:
            status.update("timing the segments")
            manifest = _timed(output, manifest)
    if as_json:
        cuts = [{"after": one.after, "bytes": one.tensor.nbytes} for one in manifest.cuts]
        extra = {} if asked is None or made is None else {"head": as_object(asked, made)}
        typer.echo(json.dumps({"bundle": str(output), "cuts": cuts, "files": len(manifest.files), **extra}))
        return
    total = sum(entry.bytes for entry in manifest.files.values())
    kind = "equal to the model" if asked is None or made is None else told(asked, made)
    typer.echo(f"{output}: {len(manifest.segments)} segments, {total / 1e6:.1f} MB, {kind}")


def _narrowed(
    parts: Partition, save: Save, output: Path, asked: HeadOptions, given: Samples, *, overwrite: bool
) -> Narrowed:
    """The exact bundle aside, then the one with fewer bits in its place."""
    import tempfile

    from partitioner.precision import narrow_head

    segments = len(parts.cuts) if asked.after is None else parts.index_of(asked.after)
    with tempfile.TemporaryDirectory(prefix="isthmus-export-") as folder:
        exact = Path(folder) / "exact"
        save(exact)
        return narrow_head(exact, output, segments, asked.bits, given, overwrite=overwrite)


def _timed(output: Path, manifest: Manifest) -> Manifest:
    """Put what the segments take on this machine into the bundle."""
    from partitioner.bundle_writer import replace_manifest
    from partitioner.profiling.timing import inputs_for
    from runtime.bundle import Bundle
    from runtime.engines import engine_named
    from runtime.measure import time_parts

    with Bundle.open(output, verify=False) as bundle:
        profile = time_parts(bundle, engine_named("onnxruntime", 1), inputs_for(manifest, 4))
    timed = manifest.model_copy(update={"profiles": (profile,)})
    replace_manifest(output, timed)
    return timed
