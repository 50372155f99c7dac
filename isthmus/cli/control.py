"""`isthmus control`: run the control plane, or make its first admin."""

from __future__ import annotations

from typing import Annotated

import typer

from isthmus.cli.programs import Configuration, Overrides, overrides_of


def control(
    configuration: Configuration = None,
    settings: Overrides = None,
    admin: Annotated[
        str | None, typer.Option(metavar="NAME", help="Print a new token of an admin of this name, and end.")
    ] = None,
) -> None:
    """Run the control plane: bundles, devices, rollouts and policies of a fleet.

    Example: isthmus control control.toml --admin kim

    Example: isthmus control control.toml
    """
    from cloud.control.settings import load

    found = load(configuration, overrides_of(settings, "folder=control"))
    if admin is not None:
        from cloud.control.program import make_admin

        typer.echo(make_admin(found, admin))
        return
    import asyncio

    from cloud.control.program import run

    asyncio.run(run(found))
