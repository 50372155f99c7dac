"""`isthmus filter BUNDLE`: teach a device to see that there is nothing to see."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.outputs import file_to_write
from protocol.errors import IsthmusError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from runtime.manifest import TensorSpec


class BadExamples(IsthmusError):
    """A folder of examples, or the cut, cannot be used."""

    exit_code = 2


def filter_(
    bundle: Annotated[Path, typer.Argument(help="The bundle whose head is to be asked.", show_default=False)],
    something: Annotated[Path, typer.Option(help="Folder of frames with something to see.", show_default=False)],
    nothing: Annotated[Path, typer.Option(help="Folder of frames with nothing to see.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", callback=file_to_write, help="Where the filter goes.")
    ] = Path("frames.filter"),
    cut: Annotated[int, typer.Option(min=1, help="Cut whose features are used; a later one computes more.")] = 1,
    keep: Annotated[
        float, typer.Option(min=0.5, max=0.9999, help="Share of those with something to see that must pass.")
    ] = 0.99,
    areas: Annotated[int, typer.Option(min=1, max=16, help="Rows and columns that features are averaged over.")] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Fit a filter on a cut's features, for `filter.path` of a device: frames with nothing to see are not sent.

    Frames as the device will take them, by name in order of time: PNG, JPEG or NPY. Of new frames like them, with
    something to see, the stated share passes. Needs the extra `train`.

    Example: isthmus filter my.bundle --something frames/car --nothing frames/empty --output car-park.filter
    """
    from isthmus.training.filtering import fit_filter
    from runtime.bundle import Bundle
    from runtime.engines import engine_named

    with Bundle.open(bundle) as opened:
        last = len(opened.manifest.segments) - 1
        if cut > last:
            raise BadExamples(f"--cut {cut} is not in this bundle; its cuts behind a head are 1 to {last}")
        examples = [_read(folder, opened.manifest.input) for folder in (something, nothing)]
        fitted = fit_filter(opened, engine_named("onnxruntime"), *examples, cut=cut, areas=areas, keep=keep)
    fitted.filter.save(output)
    told = {
        "filter": str(output),
        "cut": cut,
        "examples": len(examples[0]),
        "kept": fitted.kept,
        "dropped": fitted.dropped,
    }
    if as_json:
        typer.echo(json.dumps(told))
    else:
        typer.echo(
            f"{output}: of examples that were left out in turn, {fitted.kept:.1%} of those with something to see pass, "
            f"and {fitted.dropped:.1%} of those with nothing are dropped"
        )


def _read(folder: Path, spec: TensorSpec) -> list[NDArray[Any]]:
    """The items of a folder as the model takes them: pictures are stretched to its size."""
    from device.sources.files import files_of_folder, read_item
    from device.sources.picked import resized
    from device.sources.settings import Fit

    found = []
    for path in files_of_folder(folder):
        item = read_item(path)
        if isinstance(item, str):
            raise BadExamples(f"{folder}: {item}; remove it")
        if item.dtype == "uint8" and item.ndim == 3 and len(spec.shape) == 3 and spec.dtype == "uint8":
            item = resized(item, spec.shape[0], spec.shape[1], Fit.STRETCH)
        found.append(item)
    return found
