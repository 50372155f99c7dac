"""Whether what the agent writes can be written, and has room."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

from device.doctor.case import Case, Fault
from device.sinks.settings import JsonLinesSettings, SqliteSettings

LEAST_FREE_BYTES = 16 << 20


async def disk_has_room(case: Case) -> None:
    """Every file that the settings name can be made, and the spool may grow to its limit."""
    for key, path in _written(case).items():
        _check_place(key, path)
        free = shutil.disk_usage(_nearest_folder(path)).free
        if free < LEAST_FREE_BYTES:
            raise Fault(f"{key}: its disk has {free >> 20} MiB left", "free some, or set another path")
    spool = case.settings.spool
    if spool is not None:
        _check_database("spool.path", spool.path)
        used = spool.path.stat().st_size if spool.path.exists() else 0
        free = shutil.disk_usage(_nearest_folder(spool.path)).free
        if spool.max_bytes - used > free:
            raise Fault(
                f"the spool may grow to {spool.max_bytes >> 20} MiB, and its disk has {free >> 20} MiB left",
                "lower spool.max_bytes, or set another spool.path",
            )


def _written(case: Case) -> dict[str, Path]:
    settings, files = case.settings, {}
    if settings.history.path is not None:
        files["history.path"] = settings.history.path
    if settings.spool is not None:
        files["spool.path"] = settings.spool.path
    for number, sink in enumerate(settings.sinks):
        if isinstance(sink, JsonLinesSettings | SqliteSettings):
            files[f"sinks.{number}.path"] = sink.path
    if settings.trust.ledger is not None:
        files["trust.ledger"] = settings.trust.ledger
    return files


def _check_place(key: str, path: Path) -> None:
    """The file is writable, or can be made where it is to be."""
    if path.is_dir():
        raise Fault(f"{key} = {str(path)!r} is a folder", "name a file")
    if path.exists() and not os.access(path, os.W_OK):
        raise Fault(f"{key} = {str(path)!r} may not be written by this user", "change its owner, or set another path")
    folder = _nearest_folder(path)
    if not folder.is_dir():
        raise Fault(f"{key} = {str(path)!r} leads through {str(folder)!r}, which is no folder", "set another path")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as exc:
        raise Fault(
            f"{key} = {str(path)!r} cannot be made in {str(folder)!r}: {exc.strerror}",
            "change the folder's owner or mount it writable, or set another path",
        ) from exc


def _check_database(key: str, path: Path) -> None:
    if not path.exists():
        return
    try:
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2.0)
        try:
            sound = database.execute("PRAGMA quick_check").fetchone() == ("ok",)
        finally:
            database.close()
    except sqlite3.Error as exc:
        raise Fault(f"{key} = {str(path)!r} is damaged: {exc}", "start the agent: it moves the file aside") from exc
    if not sound:
        raise Fault(f"{key} = {str(path)!r} is damaged", "start the agent: it moves the file aside")


def _nearest_folder(path: Path) -> Path:
    """The folder that is there, on the way to a file that may not be."""
    for parent in path.absolute().parents:
        if parent.exists():
            return parent
    return Path("/")
