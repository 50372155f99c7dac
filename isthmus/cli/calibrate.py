"""`isthmus train calibrated`: a bundle with untrained codecs from a model and a folder of unlabelled samples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.outputs import bundle_to_write


def calibrated(
    model: Annotated[str, typer.Argument(help='"module:function"; the function returns the model, in eval mode.')],
    items: Annotated[Path, typer.Option(help="A folder of pictures, or a .npy file of inputs.", show_default=False)],
    cut: Annotated[list[str], typer.Option(help="Module to cut after; may be repeated.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", callback=bundle_to_write, help="Where the bundle goes.")
    ] = Path("calibrated.bundle"),
    side: Annotated[int, typer.Option(min=1, help="Side that pictures of a folder are brought to.")] = 224,
    limit: Annotated[int, typer.Option(min=8, help="Samples to use at most.")] = 200,
    task: Annotated[str, typer.Option(help="classification or tensor.")] = "classification",
) -> None:
    """Fit codecs to a model's cuts without labels or training, and write the bundle: minutes on a CPU.

    From a folder, the model gets pictures as uint8 [batch, side, side, 3]. Measure the bundle, on other samples, with
    `isthmus evaluate`.

    Example: isthmus train calibrated networks:resnet --items photos/ --cut layer2 --output resnet.bundle
    """
    from rich.console import Console

    from isthmus.evaluation.items import read_items
    from isthmus.training.named import model_named
    from partitioner.compressors.workflow import calibrated_bundle

    if task not in ("classification", "tensor"):
        raise typer.BadParameter(f"{task!r} is neither classification nor tensor", param_hint="--task")
    network = model_named(model)
    samples = read_items(items, limit, side=(side, side))
    with Console(stderr=True).status("capturing the model") as status:
        calibrated_bundle(
            network,
            samples,
            cut,
            output,
            model_id=model.replace(":", "."),
            task="classification" if task == "classification" else "tensor",
            report=status.update,
        )
    typer.echo(f"{output}: written. Measure it with: isthmus evaluate {output} --items OTHER_SAMPLES")
