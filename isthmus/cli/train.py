"""`isthmus train RECIPE.toml`, and `isthmus train builtin`, which rebuilds the built-in bundle from its seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

from isthmus.cli.calibrate import calibrated
from isthmus.cli.programs import overrides_of

if TYPE_CHECKING:
    from rich.progress import Progress

RECIPE, CALIBRATED = "recipe", "calibrated"


class _Group(TyperGroup):
    """`isthmus train FILE.toml` means `isthmus train recipe FILE.toml`; `--method calibrated` its own command."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        return super().parse_args(ctx, with_command(args, set(self.commands)))


def with_command(args: list[str], commands: set[str]) -> list[str]:
    """Arguments with the command that they leave out."""
    if args[:2] == ["--method", CALIBRATED]:
        return [CALIBRATED, *args[2:]]
    names_command = bool(args) and args[0] in commands
    if not args or names_command or args[0] == "--help":
        return args
    return [RECIPE, *args]


app = typer.Typer(cls=_Group, no_args_is_help=True, help="Train a model's compressors and write its bundle.")


@app.callback()
def _train() -> None:
    """Keeps `builtin` a subcommand: recipes for other models stand beside it."""


app.command(CALIBRATED)(calibrated)


@app.command(RECIPE)
def recipe(
    path: Annotated[Path, typer.Argument(help="The recipe, a TOML file; docs/compression.md shows one.")],
    method: Annotated[str | None, typer.Option(help="Instead of the recipe's method.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE of the recipe; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train a compressor for one cut of your model, and write the bundle.

    Interrupt it when you like, with kill -9 too: the same command goes on from its last checkpoint. The same seed gives
    the same weights on the same machine.

    Example: isthmus train resnet.toml --method entropic --set training.steps=4000
    """
    from isthmus.training.recipe import Recipe
    from isthmus.training.workflow import train
    from runtime.settings import load_settings

    overrides: dict[str, object] = {} if method is None else {"method": method}
    overrides |= overrides_of(changes, "training.steps=4000")
    settings = load_settings(Recipe, path, overrides)
    with _bars() as progress:
        bar = progress.add_task("", total=1.0)
        trained = train(settings, lambda told, done: progress.update(bar, completed=done, description=told))
    for warning in trained.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if as_json:
        typer.echo(json.dumps({"output": str(settings.output), "warnings": trained.warnings,
                               "manifest": trained.manifest.model_dump(mode="json")}))  # fmt: skip
    else:
        typer.echo(f"{settings.output}: written. Look at it with: isthmus bundle show {settings.output}")


def _bars() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    return Progress(
        BarColumn(), TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.description}"),
        console=Console(stderr=True),
    )  # fmt: skip


@app.command()
def builtin(
    output: Annotated[Path, typer.Option(help="Where the bundle goes.")] = Path("digits.bundle"),
    work: Annotated[Path, typer.Option(help="Finished stages are kept here; a second run goes on from them.")] = Path(
        "runs/builtin"
    ),
    seed: Annotated[int, typer.Option(help="The same seed gives the same weights on the same machine.")] = 1,
    scale: Annotated[float, typer.Option(min=0.001, max=10, help="Length of training; 1: the released bundle.")] = 1.0,
) -> None:
    """Train the built-in task, digits in the wild, and write its bundle.

    About an hour on two cores. Interrupt it when you like: finished stages are kept.

    Example: isthmus train builtin --output digits.bundle
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from isthmus.builtin.release import train_builtin

    with Progress(
        TextColumn("{task.fields[stage]:<10}"), BarColumn(), TimeRemainingColumn(), TextColumn("{task.description}")
    ) as progress:
        bars: dict[str, int] = {}

        def report(text: str, done: float) -> None:
            stage = text.partition(":")[0].split()[0]
            if stage not in bars:
                bars[stage] = progress.add_task("", total=1.0, stage=stage)
            progress.update(bars[stage], completed=done, description=text.partition(":")[2].strip())  # type: ignore[arg-type]

        train_builtin(output, work, seed=seed, scale=scale, report=report)
    typer.echo(f"{output}: written. Look at it with: isthmus bundle show {output}")
