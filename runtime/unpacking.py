"""A temporary folder that goes with its process: at once when it is closed, at the next opening after a `kill -9`."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
import weakref
from pathlib import Path
from typing import Final

PREFIX: Final = "isthmus-bundle-"
_YOUNG_S: Final = 60.0
"""A folder without an owner may be one whose owner has just made it."""


class TemporaryFolder:
    """An empty folder, held by a lock of the kernel's for as long as this process lives and has not closed it.

    Attributes:
        path: where it is.
    """

    def __init__(self) -> None:
        remove_abandoned()
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        held = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(held, fcntl.LOCK_EX)
        self._ended = weakref.finalize(self, _remove, self.path, held)

    def close(self) -> None:
        """Remove it. A second call does nothing."""
        self._ended()


def _remove(path: Path, held: int) -> None:
    shutil.rmtree(path, ignore_errors=True)
    os.close(held)


def remove_abandoned(young_s: float = _YOUNG_S) -> None:
    """Remove the folders of this user whose process has ended without closing them.

    Args:
        young_s: folders that were made less long ago are left alone.
    """
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # it has just gone, or is no folder, or not ours to look into
            continue
        try:
            found = os.fstat(held)
            if found.st_uid == os.getuid() and time.time() - found.st_mtime >= young_s:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
        except OSError:  # its process lives
            continue
        finally:
            os.close(held)
