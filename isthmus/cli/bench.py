"""`isthmus bench NAME`: run a benchmark of a source checkout."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Annotated

import typer

from protocol.errors import IsthmusError


class NoBenchmarks(IsthmusError):
    """Benchmarks lie beside the packages in a checkout; they are not shipped."""

    exit_code = 2


def bench(
    name: Annotated[str, typer.Argument(help="Which one; `all` runs every one, `list` names them.")] = "list",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure this machine against the figures the project promises.

    Example: isthmus bench codec --json
    """
    sys.path.insert(0, "")
    if find_spec("benchmarks") is None:
        raise NoBenchmarks(
            "benchmarks are part of a source checkout, not of a device's install; run this in a checkout"
        )
    from benchmarks.__main__ import run_named

    run_named(name, as_json=as_json)
