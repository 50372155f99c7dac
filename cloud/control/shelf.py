"""The folder of published bundles: one zip for each digest, whole and verified before it lies there.

A bundle comes into a file of its own, is checked and synced, and gets its name by one rename; only then the database
learns of it. Whatever a kill leaves behind in between is named by no row and is removed at the next start.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.bundle import Bundle
from runtime.manifest import Manifest
from runtime.signing import Trust

_INCOMING: Final = ".incoming-"


@dataclass(frozen=True, slots=True)
class Shelved:
    """A bundle that lies on the shelf."""

    digest: str
    """SHA-256 of its manifest, in hexadecimal."""
    manifest: Manifest
    size: int
    """Bytes of the zip."""
    signed: bool
    """Whether a trusted maker's signature was checked."""


class Shelf:
    """See the module. Safe to share between threads.

    Args:
        folder: made if it is not there.
        trust: whose bundles are taken; None takes anyone's.

    Raises:
        OSError: the folder cannot be made or read.
    """

    def __init__(self, folder: Path, trust: Trust | None) -> None:
        self._folder = folder
        self._trust = trust
        folder.mkdir(parents=True, exist_ok=True)

    def incoming(self) -> Path:
        """A new name in the folder for a bundle that is being received; see `take`."""
        return self._folder / f"{_INCOMING}{secrets.token_hex(8)}"

    def path(self, digest: str) -> Path:
        """Where a bundle lies."""
        return self._folder / f"{digest}.zip"

    def take(self, incoming: Path) -> Shelved:
        """Verify every byte of a received zip and put it on the shelf; on disk when this returns.

        Raises:
            BundleError: it is none, is damaged, or is not signed by a trusted maker. The file stays; remove it.
        """
        with Bundle.open(incoming, trust=self._trust) as bundle:
            bundle.verify_all()
            digest, manifest = bundle.digest.hex(), bundle.manifest
        with incoming.open("rb+") as file:
            os.fsync(file.fileno())
            size = file.seek(0, os.SEEK_END)
        incoming.replace(self.path(digest))
        self._sync()
        return Shelved(digest, manifest, size, self._trust is not None)

    def sweep(self, known: Collection[str]) -> int:
        """Remove what no row of the database names: remains of publications that were never acknowledged."""
        keep, removed = {self.path(digest).name for digest in known}, 0
        for path in self._folder.iterdir():
            if path.is_file() and path.name not in keep:
                path.unlink()
                removed += 1
        return removed

    def _sync(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
