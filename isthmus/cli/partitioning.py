"""The commands that look at a model, measure it, plan for it and cut it."""

from __future__ import annotations

import typer

from isthmus.cli.cuts import cuts
from isthmus.cli.export import export
from isthmus.cli.inspect import inspect
from isthmus.cli.plan import plan
from isthmus.cli.profile import profile


def register(app: typer.Typer) -> None:
    """Put the commands into the tree."""
    for command in (cuts, profile, plan, export, inspect):
        app.command()(command)
