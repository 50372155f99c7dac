"""`isthmus train calibrated`: a bundle with untrained codecs from a model and a folder of unlabelled samples."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from protocol.errors import IsthmusError

if TYPE_CHECKING:
    from torch import nn


class NoSuchModel(IsthmusError):
    """The model's name leads nowhere."""

    exit_code = 2


def register(app: typer.Typer) -> None:
    """Put the command into its group."""
    app.command()(calibrated)


def calibrated(
    model: Annotated[str, typer.Argument(help='"module:function"; the function returns the model, in eval mode.')],
    items: Annotated[Path, typer.Option(help="A folder of pictures, or a .npy file of inputs.", show_default=False)],
    cut: Annotated[list[str], typer.Option(help="Module to cut after; may be repeated.", show_default=False)],
    output: Annotated[Path, typer.Option(help="Where the bundle goes.")] = Path("calibrated.bundle"),
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


def model_named(name: str) -> nn.Module:
    """Import a module, from the current folder too, and call its function.

    Raises:
        NoSuchModel: no such module or function, or it returns no model.
    """
    module_name, colon, function = name.partition(":")
    if not colon:
        raise NoSuchModel(f'{name!r} names no function; write "module:function", e.g. networks:resnet')
    sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        raise NoSuchModel(f"there is no module {exc.name!r} here or installed; check the name or the folder") from exc
    make = getattr(module, function, None)
    if not callable(make):
        raise NoSuchModel(f"module {module_name!r} has no function {function!r}; check the name")
    from torch import nn

    made = make()
    if not isinstance(made, nn.Module):
        raise NoSuchModel(f"{name} returned a {type(made).__name__}, not a torch.nn.Module; return the model itself")
    return made
