"""`isthmus train builtin`: rebuild the built-in bundle from its seed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Train a model's compressors and write its bundle.")


@app.callback()
def _train() -> None:
    """Keeps `builtin` a subcommand: recipes for other models stand beside it."""


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
