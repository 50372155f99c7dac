"""`isthmus evaluate BUNDLE`: bytes and answers of every level beside picture files and few bits under zstd."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from isthmus.evaluation.bundle import Evaluation


def evaluate(
    path: Annotated[Path, typer.Argument(help="Folder or uncompressed zip of a bundle.", show_default=False)],
    items: Annotated[Path, typer.Option(help="A folder of pictures, or a .npy file of inputs.", show_default=False)],
    labels: Annotated[Path | None, typer.Option(help="A .npy file of classes. Without it: agreement.")] = None,
    limit: Annotated[int, typer.Option(min=2, help="Samples to use at most.")] = 400,
    draws: Annotated[int, typer.Option(min=20, help="Bootstrap draws of each interval.")] = 500,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure a bundle's codecs on samples, beside JPEG, WebP, AVIF and k-bit + zstd, with 95 % intervals.

    The classifier is taken as it is; one tuned on a codec's output would lose less at low rates.

    Example: isthmus evaluate digits.bundle --items pictures/ --json
    """
    from rich.console import Console

    from isthmus.evaluation.bundle import evaluate as measured
    from isthmus.evaluation.items import read_items, read_labels
    from runtime.bundle import Bundle

    console = Console(stderr=True)
    with Bundle.open(path) as bundle, console.status("reading samples") as status:
        shape = bundle.manifest.input.shape
        side = (shape[0], shape[1]) if len(shape) == 3 and shape[2] == 3 else None
        samples = read_items(items, limit, side=side)
        classes = None if labels is None else read_labels(labels, len(samples))
        found = measured(bundle, samples, classes, status.update, draws=draws)
    if as_json:
        typer.echo(json.dumps(as_object(found)))
    else:
        _print(found)


def as_object(found: Evaluation) -> dict[str, object]:
    """The JSON object."""
    return {
        "items": found.items,
        "quality": found.quality,
        "whole": found.whole,
        "rows": [
            {"method": curve.name, "level": level, "bytes": float(size), found.quality: float(quality)}
            for curve in found.curves
            for level, size, quality in zip(curve.levels, curve.bytes, curve.quality, strict=True)
        ],
        "differences": [
            {"method": one.method, "against": one.against, "rate": one.rate, "interval": [one.low, one.high]}
            for one in found.differences
        ],
    }


def _print(found: Evaluation) -> None:
    from rich.console import Console
    from rich.table import Table

    out = Console()
    table = Table("method", "level", "bytes", found.quality, title=f"{found.items} samples, whole {found.whole:.2%}")
    for curve in found.curves:
        for number, (level, size, quality) in enumerate(zip(curve.levels, curve.bytes, curve.quality, strict=True)):
            table.add_row(curve.name if number == 0 else "", level, f"{size:,.1f}", f"{quality:.2%}")
        table.add_section()
    out.print(table)
    rates = Table("method", "against", "bytes at equal quality", "95 % interval")
    for one in found.differences:
        rates.add_row(one.method, one.against, f"{one.rate:+.1%}", f"{one.low:+.1%} to {one.high:+.1%}")
    out.print(rates)
