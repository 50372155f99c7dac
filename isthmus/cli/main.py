"""Entry point of the command `isthmus`: builds the command tree, turns errors into one sentence and an exit code."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from isthmus.cli import bundle, calibrate, enroll, partitioning, programs, sign, testbed, train
from isthmus.cli.bench import bench
from isthmus.cli.capacity import capacity
from isthmus.cli.demo import demo
from isthmus.cli.device import device
from isthmus.cli.doctor import doctor
from isthmus.cli.evaluate import evaluate
from isthmus.cli.explain import explain
from isthmus.cli.top import top
from protocol.errors import IsthmusError

app = typer.Typer(
    name="isthmus",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Split and edge-cloud inference: cut a trained model, compress the cut, stream it, adapt per frame.",
    epilog="Start with: isthmus demo",
)
app.command()(device)
app.command()(doctor)
app.command()(top)
programs.register(app)
app.add_typer(bundle.app, name="bundle")
app.add_typer(testbed.app, name="testbed")
app.add_typer(sign.app, name="sign")
app.add_typer(enroll.app, name="enroll")
app.add_typer(train.app, name="train")
app.command()(demo)
app.command()(bench)
app.command()(capacity)
app.command()(explain)
app.command()(evaluate)
calibrate.register(train.app)
partitioning.register(app)

EXIT_CODES = (
    "Exit codes: 0 done, 1 internal error, 2 configuration, 3 bundle, 4 address, 5 tier unreachable, "
    "6 trace, 130 interrupted."
)


@app.callback(epilog=EXIT_CODES)
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and debug logs.")] = False,
) -> None:
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the command; exits the process."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        app(given)
    except IsthmusError as error:
        if "--debug" in given:
            raise
        print(f"isthmus: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
