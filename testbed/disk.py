"""Run a program whose disk can be filled or slowed: `python -m testbed.disk LIBRARY STATE FOLDER MODULE [ARGUMENT...]`.

What the program and the C libraries in it (SQLite, for example) write to files below FOLDER meets `testbed/disk.c`,
which is compiled where it is needed and preloaded: writes fail with "no space left", or writes and flushes take longer,
as the file STATE says at that moment. Nothing else on the machine is touched, and no privilege is needed.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import TestbedError

SOURCE = Path(__file__).with_suffix(".c")
_STATE = struct.Struct("=qq")


class DiskError(TestbedError):
    """The library that stands before the disk cannot be made; the sentence says why."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class DiskState:
    """What a disk does: whether it takes nothing more, and how much longer each write and each flush takes."""

    full: bool = False
    longer_s: float = 0.0


class Disk:
    """A folder that is a disk of its own for the programs that run through it.

    Args:
        folder: holds what the disk holds; made here.

    Raises:
        DiskError: there is no C compiler, or it failed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True)
        self._state = self.folder.with_suffix(".state")
        self._library = self.folder.with_suffix(".so")
        self.become(DiskState())
        _compile(self._library)

    @property
    def through(self) -> Sequence[str]:
        """What comes before a module's name for the module to meet this disk."""
        return ["testbed.disk", str(self._library), str(self._state), str(self.folder)]

    def become(self, state: DiskState) -> None:
        """Behave like this from now on."""
        descriptor = os.open(self._state, os.O_WRONLY | os.O_CREAT, 0o644)
        try:  # in place: programs have mapped it
            os.pwrite(descriptor, _STATE.pack(state.full, round(state.longer_s * 1e6)), 0)
        finally:
            os.close(descriptor)


def why_not() -> str:
    """Why no disk can be filled or slowed here; empty if one can."""
    if sys.platform != "linux":
        return "faults of disks need Linux"
    return "" if _compiler() else "faults of disks need a C compiler (install gcc)"


def _compiler() -> str | None:
    return next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)


def _compile(library: Path) -> None:
    if reason := why_not():
        raise DiskError(reason)
    command = [_compiler() or "cc", "-O1", "-fPIC", "-shared", "-o", str(library), str(SOURCE), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DiskError(f"{' '.join(command)} failed: {done.stderr.strip()}")


def main(arguments: list[str]) -> None:
    """Become the module's program, with the library before the C library's own functions."""
    library, state, folder, *module = arguments
    named = {"LD_PRELOAD": library, "ISTHMUS_DISK_STATE": state, "ISTHMUS_DISK_FOLDER": folder}
    os.execve(sys.executable, [sys.executable, "-m", *module], {**os.environ, **named})


if __name__ == "__main__":
    main(sys.argv[1:])
