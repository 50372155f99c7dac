"""What a command writes is looked at before the minutes of work that would fill it, not after."""

from __future__ import annotations

import os
from pathlib import Path

import typer


def file_to_write(path: Path | None) -> Path | None:
    """Callback of an option that names a file to write.

    Raises:
        typer.BadParameter: it could not be written.
    """
    if path is not None and path.is_dir():
        raise typer.BadParameter(f"{str(path)!r} is a folder; name a file")
    if path is not None and path.exists():
        _require(os.access(path, os.W_OK), f"{str(path)!r} may not be written; name another file")
        return path
    return bundle_to_write(path)


def bundle_to_write(path: Path | None) -> Path | None:
    """Callback of an option that names a bundle to write: its folder has to be there.

    Raises:
        typer.BadParameter: it is not, or nothing may be written there.
    """
    if path is not None:
        folder = path.absolute().parent
        _require(folder.is_dir(), f"there is no folder {str(folder)!r}; make it first, or name another")
        _require(os.access(folder, os.W_OK), f"nothing may be written in the folder {str(folder)!r}; name another")
    return path


def _require(able: bool, otherwise: str) -> None:
    if not able:
        raise typer.BadParameter(otherwise)
