"""Whether the clock can be right: certificates, captured times and keys depend on it."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

from device.doctor.case import Case, Fault

SLACK_S = 600.0
"""Files of another machine may be so far ahead."""


async def clock_is_right(case: Case) -> None:
    """The clock is not behind files that lie here already: the program itself, the settings, the bundle."""
    now = case.environment.wall()
    files = {"this program": Path(__file__), "the configuration": case.configuration, "the bundle": _manifest(case)}
    for name, path in files.items():
        written = _written(path)
        if written is not None and now < written - SLACK_S:
            raise Fault(
                f"the clock says {_told(now)}, but {name} was written {_told(written)}",
                "set the clock, for example with: timedatectl set-ntp true",
            )


def _manifest(case: Case) -> Path:
    path = case.settings.bundle
    return path / "manifest.json" if path.is_dir() else path


def _written(path: Path | None) -> float | None:
    try:
        return None if path is None else os.stat(path).st_mtime
    except OSError:
        return None


def _told(unix_s: float) -> str:
    return datetime.datetime.fromtimestamp(unix_s, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
