"""`isthmus evaluate BUNDLE`: bytes and answers of every level beside picture files and few bits under zstd."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.outputs import file_to_write

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isthmus.evaluation.bundle import Beside, Evaluation
    from isthmus.evaluation.efforts import Effort
    from isthmus.evaluation.leakage import Leak
    from isthmus.evaluation.promises import Promised
    from runtime.bundle import Bundle
    from runtime.manifest import Manifest


def evaluate(
    path: Annotated[Path, typer.Argument(help="Folder or uncompressed zip of a bundle.", show_default=False)],
    items: Annotated[Path, typer.Option(help="A folder of pictures, or a .npy file of inputs.", show_default=False)],
    labels: Annotated[Path | None, typer.Option(help="A .npy file of classes. Without it: agreement.")] = None,
    limit: Annotated[int, typer.Option(min=2, help="Samples to use at most.")] = 400,
    draws: Annotated[int, typer.Option(min=20, help="Bootstrap draws of each interval.")] = 500,
    leakage: Annotated[int, typer.Option(min=0, help="Also paint pictures from features: steps of each attack.")] = 0,
    record: Annotated[
        bool, typer.Option("--record", help="Write what is found into the bundle, --leakage's too, for plans to use.")
    ] = False,
    risk: Annotated[
        float | None,
        typer.Option(help="Also promise: share of answers that may differ from the whole model's, e.g. 0.02."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help='"module:function" that returns the bundle\'s model, to be tuned with --tune.')
    ] = None,
    tune: Annotated[
        Path | None, typer.Option(help="Other samples: classifiers are tuned on each rival's output of them.")
    ] = None,
    tune_labels: Annotated[Path | None, typer.Option(help="Their classes, .npy. Without: the model's answers.")] = None,
    tune_steps: Annotated[int, typer.Option(min=1, help="Batches of each tuning.")] = 300,
    small: Annotated[
        str | None, typer.Option(help='"module:function" that returns a model small enough for the device.')
    ] = None,
    page: Annotated[
        Path | None, typer.Option(callback=file_to_write, help="Also write plots, one self-contained HTML page.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure a bundle's codecs on samples, beside JPEG, WebP, AVIF and k-bit + zstd, with 95 % intervals.

    The classifier is taken as it is; with --model and --tune, rivals stand there a second time with a classifier that
    was tuned on their output, which loses less at low rates.

    Example: isthmus evaluate digits.bundle --items pictures/ --page curves.html

    Example: isthmus evaluate resnet.bundle --items test/ --model networks:resnet --tune train/ --risk 0.02
    """
    from rich.console import Console

    from isthmus.evaluation.bundle import evaluate as measured
    from isthmus.evaluation.items import read_items, read_labels
    from isthmus.evaluation.page import page as page_of
    from runtime.bundle import Bundle

    if record and not path.is_dir():
        raise typer.BadParameter("needs a bundle in a folder", param_hint="--record")
    console = Console(stderr=True)
    with Bundle.open(path) as bundle, console.status("reading samples") as status:
        shape = bundle.manifest.input.shape
        side = (shape[0], shape[1]) if len(shape) == 3 and shape[2] == 3 else None
        samples = read_items(items, limit, side=side)
        classes = None if labels is None else read_labels(labels, len(samples))
        beside = _beside((model, tune, tune_labels, tune_steps), small, limit, side)
        found = measured(bundle, samples, classes, status.update, draws=draws, beside=beside)
        promised = [] if risk is None else _promised(bundle, samples, status.update, risk)
        attacks = _attacked(bundle, samples, status.update, leakage) if leakage else []
        manifest = bundle.manifest
    if record:
        _record(path, manifest, found, attacks)
    if page is not None:
        page.write_text(page_of(found, manifest.model_id), encoding="utf-8")
    if as_json:
        more = {"leaks": [asdict(leak) for leak in attacks], "promises": [asdict(one) for one in promised]}
        typer.echo(json.dumps(as_object(found) | more))
    else:
        _print(found)
        _print_promises(promised)
        _print_leaks(attacks)


def _attacked(bundle: Bundle, samples: NDArray[Any], report: Callable[[str], None], steps: int) -> list[Leak]:
    """Here, for it alone needs torch."""
    from isthmus.evaluation.leakage import leaks

    return leaks(bundle, samples, report, steps=steps)


def _beside(
    tuning: tuple[str | None, Path | None, Path | None, int],
    small: str | None,
    limit: int,
    side: tuple[int, int] | None,
) -> Beside:
    """Here, for these alone need torch."""
    from isthmus.evaluation.bundle import Beside
    from isthmus.evaluation.items import read_items, read_labels

    model, items, labels, steps = tuning
    if (model is None) != (items is None):
        raise typer.BadParameter("tuning takes a model and samples: give both or none", param_hint="--model, --tune")
    tuner, alone = None, None
    if model is not None and items is not None:
        from isthmus.evaluation.tuning import Tuner
        from isthmus.training.named import model_named

        seen = read_items(items, 10 * limit, side=side)
        targets = None if labels is None else read_labels(labels, len(seen))
        tuner = Tuner(model_named(model), seen, targets, steps=steps)
    if small is not None:
        from isthmus.training.named import model_named

        alone = model_named(small)
    return Beside(tuner, alone)


def _record(path: Path, manifest: Manifest, found: Evaluation, attacks: Sequence[Leak]) -> None:
    from isthmus.evaluation.bundle import recorded
    from partitioner.bundle_writer import replace_manifest

    manifest = recorded(manifest, found)
    if attacks:
        from isthmus.evaluation.leakage import recorded as with_leaks

        manifest = with_leaks(manifest, attacks)
    replace_manifest(path, manifest)


def _promised(bundle: Bundle, samples: NDArray[Any], report: Callable[[str], None], risk: float) -> list[Promised]:
    from isthmus.evaluation.promises import promises

    return promises(bundle, samples, report, risk=risk)


def as_object(found: Evaluation) -> dict[str, object]:
    """The JSON object."""
    return {
        "items": found.items,
        "quality": found.quality,
        "whole": found.whole,
        "rows": [
            {"method": curve.name, "level": level, "bytes": float(size), found.quality: float(quality)}
            | (asdict(found.efforts[curve.name][place]) if curve.name in found.efforts else {})
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
        "encoder",
        "ms",
        title=f"{found.items} samples, whole {found.whole:.2%}",
    )
    for curve in found.curves:
        for number, (level, size, quality) in enumerate(zip(curve.levels, curve.bytes, curve.quality, strict=True)):
            told = _effort(found.efforts[curve.name][number]) if curve.name in found.efforts else ("", "", "")
            table.add_row(curve.name if number == 0 else "", level, f"{size:,.1f}", f"{quality:.2%}", *told)
        table.add_section()
    out.print(table)
    rates = Table("method", "against", "bytes at equal quality", "95 % interval")
    for one in found.differences:
        rates.add_row(one.method, one.against, f"{one.rate:+.1%}", f"{one.low:+.1%} to {one.high:+.1%}")
    out.print(rates)


def _effort(one: Effort) -> tuple[str, str, str]:
    """Multiply-accumulates, parameters, milliseconds."""
    return f"{one.device_macs / 1e6:,.2f}", f"{one.encoder_parameters:,}", f"{1e3 * one.encode_s:.2f}"


def _print_promises(promised: Sequence[Promised]) -> None:
    if not promised:
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("place", "threshold or level", "observed", "leaves there", title="kept with 95 % probability")
    for one in promised:
        if one.promise is None:
            table.add_row(one.place, "none", one.why, "")
        else:
            made = one.promise
            table.add_row(one.place, f"{made.choice:.4g}", f"{made.observed:.2%}", f"{made.used:.1%}")
    Console().print(table)


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
