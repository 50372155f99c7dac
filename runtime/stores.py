"""Where the files of a bundle lie: in a folder, or in an uncompressed zip. Nothing leads out of either."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path, PurePosixPath
from typing import Protocol

from runtime.errors import BundleCorrupt, BundleInvalid
from runtime.unpacking import TemporaryFolder

MAX_ENTRIES = 10_000
"""Bound on the entries of a zip."""

_CHUNK_BYTES = 1 << 20


class Store(Protocol):
    """Gives the files of a bundle by name."""

    def names(self) -> set[str]:
        """All files there, listed or not."""

    def size(self, name: str) -> int | None:
        """Bytes of a file, or None where there is none."""

    def fetch(self, name: str, size: int) -> Path:
        """The file on disk; reads no more than `size` bytes of it."""

    def close(self) -> None: ...


class FolderStore:
    """A bundle's folder: files are used where they lie.

    `size` raises BundleCorrupt for what is no regular file inside the folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def names(self) -> set[str]:
        return {path.relative_to(self._root).as_posix() for path in self._root.rglob("*") if not _is_plain_folder(path)}

    def size(self, name: str) -> int | None:
        path = self._root / name
        if not path.exists():
            if path.is_symlink():
                raise BundleCorrupt(name, "is a link that leads nowhere")
            return None
        if not path.resolve().is_relative_to(self._root):
            raise BundleCorrupt(name, "is a link that leads out of the bundle")
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise BundleCorrupt(name, "is not a regular file")
        return found.st_size

    def fetch(self, name: str, size: int) -> Path:
        return self._root / name

    def close(self) -> None:
        """Nothing was unpacked."""


class ZipStore:
    """A bundle's zip: each file is unpacked when it is fetched, into a temporary folder that `close` removes.

    Raises:
        BundleInvalid: no zip, a compressed one, one of too many entries or with two files of one name.
        BundleCorrupt: an entry would lie outside the bundle, or is a link.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as exc:
            raise BundleInvalid(
                f"{str(path)!r} is no bundle, neither a folder nor a zip ({exc}); check the path"
            ) from exc
        self._folder = TemporaryFolder()
        try:
            self._entries = {entry.filename: entry for entry in _entries_of(self._archive, path)}
        except BaseException:
            self.close()
            raise

    def names(self) -> set[str]:
        return set(self._entries)

    def size(self, name: str) -> int | None:
        entry = self._entries.get(name)
        return None if entry is None else entry.file_size

    def fetch(self, name: str, size: int) -> Path:
        target = self._folder.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(target.name + ":part")  # no entry's name holds a colon
        try:
            with self._archive.open(self._entries[name]) as source, fresh.open("wb") as sink:
                while size > 0 and (chunk := source.read(min(size, _CHUNK_BYTES))):
                    sink.write(chunk)
                    size -= len(chunk)
        except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError) as exc:
            raise BundleCorrupt(name, f"cannot be read from the zip ({exc})") from exc
        fresh.replace(target)  # an engine may have mapped the old one
        return target

    def close(self) -> None:
        self._archive.close()
        self._folder.close()


def _entries_of(archive: zipfile.ZipFile, path: Path) -> list[zipfile.ZipInfo]:
    """The zip's files, each with a plain name inside the bundle and stored as it is."""
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise BundleInvalid(f"{str(path)!r} has {len(entries)} entries, more than {MAX_ENTRIES}")
    for entry in entries:
        name = entry.filename.removesuffix("/")
        parts = PurePosixPath(name).parts
        if name != "/".join(parts) or name.startswith("/") or "\\" in name or ":" in name or ".." in parts:
            raise BundleCorrupt(entry.filename, "has a name that leads out of the bundle")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise BundleCorrupt(name, "is a link, and a bundle's zip holds plain files only")
        if entry.compress_type != zipfile.ZIP_STORED:
            raise BundleInvalid(f"{name!r} in {str(path)!r} is compressed; pack the bundle again without compression")
    files = [entry for entry in entries if not entry.is_dir()]
    names = {entry.filename for entry in files}
    if len(names) != len(files):
        raise BundleInvalid(f"{str(path)!r} holds two files of one name; pack the bundle again")
    for name in sorted(names):
        if any(str(parent) in names for parent in PurePosixPath(name).parents):
            raise BundleCorrupt(name, "lies in a folder that has the name of a file")
    return files


def _is_plain_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
