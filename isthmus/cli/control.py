"""`isthmus control`: run the control plane, or make its first admin."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.programs import Configuration, Overrides, overrides_of
from protocol.errors import IsthmusError

if TYPE_CHECKING:
    from cloud.control.settings import Settings


class ControlMisuse(IsthmusError):
    """A file that cannot be read or written, or options that exclude each other."""

    exit_code = 2


def control(
    configuration: Configuration = None,
    settings: Overrides = None,
    admin: Annotated[
        str | None, typer.Option(metavar="NAME", help="Print a new token of an admin of this name, and end.")
    ] = None,
    backup: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all that it knows to FILE (- is a pipe), and end.")
    ] = None,
    restore: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Read a backup (- is a pipe) into an empty control plane, and end."),
    ] = None,
) -> None:
    """Run the control plane: bundles, devices, rollouts and policies of a fleet.

    Example: isthmus control control.toml --admin kim

    Example: isthmus control control.toml

    Example: isthmus control control.toml --backup control.tar
    """
    from cloud.control.settings import load

    found = load(configuration, overrides_of(settings, "folder=control"))
    if admin is not None:
        from cloud.control.program import make_admin

        typer.echo(make_admin(found, admin))
        return
    if backup is not None or restore is not None:
        _keep_or_restore(found, backup, restore)
        return
    import asyncio

    from cloud.control.program import run

    asyncio.run(run(found))


def _keep_or_restore(settings: Settings, backup: Path | None, restore: Path | None) -> None:
    from cloud.control.program import make_backup, restore_backup

    if backup is not None and restore is not None:
        raise ControlMisuse("--backup and --restore exclude each other; give one of them")
    try:
        if backup is not None:
            with nullcontext(sys.stdout.buffer) if str(backup) == "-" else backup.open("xb") as into:
                counted = make_backup(settings, into)
        elif restore is not None:
            with nullcontext(sys.stdin.buffer) if str(restore) == "-" else restore.open("rb") as source:
                counted = restore_backup(settings, source)
    except OSError as exc:
        raise ControlMisuse(f"{backup or restore} cannot be used: {exc.strerror}; name another file") from exc
    typer.echo(", ".join(f"{number} {name}" for name, number in counted.items() if number), err=True)
