"""`isthmus evaluate BUNDLE`: bytes and answers of every level beside picture files and few bits under zstd."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isthmus.evaluation.bundle import Evaluation
    from isthmus.evaluation.leakage import Leak
    from runtime.bundle import Bundle


def evaluate(
    path: Annotated[Path, typer.Argument(help="Folder or uncompressed zip of a bundle.", show_default=False)],
    items: Annotated[Path, typer.Option(help="A folder of pictures, or a .npy file of inputs.", show_default=False)],
    labels: Annotated[Path | None, typer.Option(help="A .npy file of classes. Without it: agreement.")] = None,
    limit: Annotated[int, typer.Option(min=2, help="Samples to use at most.")] = 400,
    draws: Annotated[int, typer.Option(min=20, help="Bootstrap draws of each interval.")] = 500,
    leakage: Annotated[int, typer.Option(min=0, help="Also paint pictures from features: steps of each attack.")] = 0,
    page: Annotated[Path | None, typer.Option(help="Also write plots, one self-contained HTML page.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure a bundle's codecs on samples, beside JPEG, WebP, AVIF and k-bit + zstd, with 95 % intervals.

    The classifier is taken as it is; one tuned on a codec's output would lose less at low rates.

    Example: isthmus evaluate digits.bundle --items pictures/ --page curves.html
    """
    from rich.console import Console

    from isthmus.evaluation.bundle import evaluate as measured
    from isthmus.evaluation.items import read_items, read_labels
    from isthmus.evaluation.page import page as page_of
    from runtime.bundle import Bundle

    console = Console(stderr=True)
    with Bundle.open(path) as bundle, console.status("reading samples") as status:
        shape = bundle.manifest.input.shape
        side = (shape[0], shape[1]) if len(shape) == 3 and shape[2] == 3 else None
        samples = read_items(items, limit, side=side)
        classes = None if labels is None else read_labels(labels, len(samples))
        found = measured(bundle, samples, classes, status.update, draws=draws)
        attacks = _attacked(bundle, samples, status.update, leakage) if leakage else []
        model_id = bundle.manifest.model_id
    if page is not None:
        page.write_text(page_of(found, model_id), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(as_object(found) | {"leaks": [asdict(leak) for leak in attacks]}))
    else:
        _print(found)
        _print_leaks(attacks)


def _attacked(bundle: Bundle, samples: NDArray[Any], report: Callable[[str], None], steps: int) -> list[Leak]:
    """Here, for it alone needs torch."""
    from isthmus.evaluation.leakage import leaks

    return leaks(bundle, samples, report, steps=steps)


def as_object(found: Evaluation) -> dict[str, object]:
    """The JSON object."""
    return {
        "items": found.items,
        "quality": found.quality,
        "whole": found.whole,
        "rows": [
            {"method": curve.name, "level": level, "bytes": float(size), found.quality: float(quality)}
            | ({"device_macs": found.device_macs[curve.name][place]} if curve.name in found.device_macs else {})
            for curve in found.curves
            for place, (level, size, quality) in enumerate(zip(curve.levels, curve.bytes, curve.quality, strict=True))
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
    table = Table(
        "method",
        "level",
        "bytes",
        found.quality,
        "device MMAC",
        title=f"{found.items} samples, whole {found.whole:.2%}",
    )
    for curve in found.curves:
        for number, (level, size, quality) in enumerate(zip(curve.levels, curve.bytes, curve.quality, strict=True)):
            macs = f"{found.device_macs[curve.name][number] / 1e6:,.2f}" if curve.name in found.device_macs else ""
            table.add_row(curve.name if number == 0 else "", level, f"{size:,.1f}", f"{quality:.2%}", macs)
        table.add_section()
    out.print(table)
    rates = Table("method", "against", "bytes at equal quality", "95 % interval")
    for one in found.differences:
        rates.add_row(one.method, one.against, f"{one.rate:+.1%}", f"{one.low:+.1%} to {one.high:+.1%}")
    out.print(rates)


def _print_leaks(attacks: Sequence[Leak]) -> None:
    if not attacks:
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("cut", "level", "PSNR, dB", "SSIM", "without features", title="pictures painted from features")
    for leak in attacks:
        blind = f"{leak.blind_db:.1f} dB, {leak.blind_ssim:.2f}"
        table.add_row(str(leak.cut), str(leak.level), f"{leak.psnr_db:.1f}", f"{leak.ssim:.2f}", blind)
    Console().print(table)
