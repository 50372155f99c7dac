"""Open a bundle, and check each file's SHA-256 before its first use. The format is described in docs/bundle.md."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pydantic import ValidationError
from pydantic_core import from_json

from runtime.errors import BundleCorrupt, BundleInvalid, BundleMissing, BundleVersion
from runtime.manifest import SCHEMA_VERSION, FileEntry, Graph, Manifest, digest_of
from runtime.onnx_locations import external_locations
from runtime.settings import sentence_of
from runtime.stores import FolderStore, Store, ZipStore

if TYPE_CHECKING:
    from runtime.signing import Trust

MANIFEST_NAME = "manifest.json"
SIGNATURE_NAME = "manifest.sig"
MAX_MANIFEST_BYTES = 4 << 20
MAX_SIGNATURE_BYTES = 1024


class Bundle:
    """One partitioned model on disk: its manifest, and its files by name.

    Safe to share between threads. A zip is unpacked file by file, as they are used, into a temporary folder that
    `close` (or leaving a `with` block) removes, or the next process that opens one if this is killed.

    Attributes:
        path: the folder or zip it was opened from.
        manifest: what the bundle declares.
        digest: SHA-256 of the manifest file, 32 bytes; names the bundle.
        tag: the digest's first 8 bytes, little-endian, as `Frame.bundle` carries it.
    """

    def __init__(self, path: Path, store: Store, manifest_bytes: bytes, *, verify: bool) -> None:
        self.path = path
        self.manifest = read_manifest(manifest_bytes, origin=str(path))
        self.digest = digest_of(manifest_bytes)
        self.tag = int.from_bytes(self.digest[:8], "little")
        self._store = store
        self._verify = verify
        self._lock = threading.Lock()
        self._ready: dict[str, Path] = {}
        self._checked_models: set[tuple[str, tuple[str, ...]]] = set()

    @classmethod
    def open(cls, path: Path | str, *, verify: bool = True, trust: Trust | None = None) -> Bundle:
        """Open a folder or an uncompressed zip; reads the manifest only.

        Args:
            path: where the bundle lies.
            verify: False skips hashing, for files that this process has just written; sizes are checked always.
            trust: whose bundles are used here; None takes anyone's.

        Raises:
            BundleMissing: nothing there, or no manifest in it.
            BundleUntrusted: not signed by a trusted key, or altered since; nothing of it has been parsed.
            BundleRolledBack: a newer bundle of this model has been accepted here.
            BundleVersion: another schema version.
            BundleInvalid: the manifest or the zip breaks its rules.
            BundleCorrupt: the zip has an entry outside the bundle.
        """
        path = Path(path)
        if path.is_dir():
            return cls._over(path, FolderStore(path), verify=verify, trust=trust)
        if not path.is_file():
            raise BundleMissing(f"there is no bundle at {str(path)!r}; give a bundle's folder or zip file")
        store = ZipStore(path)
        try:
            return cls._over(path, store, verify=verify, trust=trust)
        except BaseException:
            store.close()
            raise

    @classmethod
    def _over(cls, path: Path, store: Store, *, verify: bool, trust: Trust | None) -> Bundle:
        size = store.size(MANIFEST_NAME)
        if size is None:
            raise BundleMissing(f"{str(path)!r} holds no {MANIFEST_NAME}, so it is no bundle; check the path")
        if size > MAX_MANIFEST_BYTES:
            raise BundleInvalid(f"the manifest of {str(path)!r} has {size} bytes, more than {MAX_MANIFEST_BYTES}")
        content = store.fetch(MANIFEST_NAME, size).read_bytes()
        if trust is not None:
            trust.check_signature(content, _signature_in(store), origin=str(path))
        bundle = cls(path, store, content, verify=verify)
        if trust is not None:
            trust.accept(bundle.manifest)
        return bundle

    def file(self, relpath: str) -> Path:
        """Where a file of the bundle lies on disk, its size and SHA-256 checked before first use.

        Raises:
            BundleCorrupt: not listed in the manifest, missing, altered, or a link that leads out of the bundle.
        """
        with self._lock:
            if relpath not in self._ready:
                self._ready[relpath] = self._checked(relpath)
            return self._ready[relpath]

    def model(self, relpath: str, data: Sequence[str] = ()) -> Path:
        """Where an ONNX graph lies, it and the files of its weights checked.

        Args:
            relpath: the graph.
            data: the files that the manifest declares for its weights.

        Raises:
            BundleCorrupt: as `file`, or the graph reads a file that `data` does not name.
        """
        path = self.file(relpath)
        for name in data:
            self.file(name)
        key = (relpath, tuple(data))
        if key not in self._checked_models:
            self._check_locations(relpath, path, data)
            self._checked_models.add(key)
        return path

    def verify_all(self) -> None:
        """Check every listed file anew, and that the bundle holds no other.

        Raises:
            BundleCorrupt: naming the first file at fault.
        """
        with self._lock:
            self._ready.clear()
        self._checked_models.clear()
        for relpath in sorted(self.manifest.files):
            self.file(relpath)
        unlisted = sorted(self._store.names() - set(self.manifest.files) - {MANIFEST_NAME, SIGNATURE_NAME})
        if unlisted:
            raise BundleCorrupt(unlisted[0], "is in the bundle but not in its manifest")
        graphs: tuple[Graph, ...] = (*self.manifest.segments, *self.manifest.exits)
        for graph in graphs:
            self.model(graph.model, graph.data)
        for cut in self.manifest.cuts:
            for level in cut.levels:
                if level.codec == "learned":
                    for path in level.graphs:
                        self.model(path, level.data)

    def close(self) -> None:
        """Remove what was unpacked. Paths given out by a zip are gone afterwards."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _checked(self, relpath: str) -> Path:
        entry = self.manifest.files.get(relpath)
        if entry is None:
            raise BundleCorrupt(relpath, "is not listed in the manifest")
        size = self._store.size(relpath)
        if size is None:
            raise BundleCorrupt(relpath, "is missing")
        if size != entry.bytes:
            raise BundleCorrupt(relpath, f"has {size} bytes where the manifest declares {entry.bytes}")
        path = self._store.fetch(relpath, size)
        if self._verify and _sha256_of(path) != entry.sha256:
            raise BundleCorrupt(relpath, "has another SHA-256 than the manifest declares")
        return path

    def _check_locations(self, relpath: str, path: Path, data: Sequence[str]) -> None:
        try:
            locations = external_locations(path.read_bytes())
        except ValueError as exc:
            raise BundleCorrupt(relpath, f"is no ONNX graph ({exc})") from exc
        parent = PurePosixPath(relpath).parent
        for location in sorted(locations):
            if str(parent / location) not in data or ".." in PurePosixPath(location).parts:
                raise BundleCorrupt(relpath, f"reads weights from {location!r}, which its `data` does not name")


def read_manifest(content: bytes, *, origin: str = "the bundle") -> Manifest:
    """Parse and check the bytes of a `manifest.json`; `origin` names it in errors.

    Raises:
        BundleVersion: another schema version.
        BundleInvalid: not JSON, a key misspelt, a value out of range, or contradictions.
    """
    try:
        tree = from_json(content, allow_inf_nan=False)
    except ValueError as exc:
        raise BundleInvalid(f"the manifest of {origin!r} is not JSON: {exc}; copy or export the bundle again") from exc
    version = tree.get("schema_version") if isinstance(tree, dict) else None
    if type(version) is not int:
        raise BundleInvalid(f"the manifest of {origin!r} states no schema_version, so it is no bundle's manifest")
    if version != SCHEMA_VERSION:
        newer = "update isthmus" if version > SCHEMA_VERSION else "export it again with this release"
        raise BundleVersion(
            f"bundle {origin!r} is written in schema version {version} and this release reads version "
            f"{SCHEMA_VERSION} only; {newer}"
        )
    try:
        return Manifest.model_validate_json(content, strict=True)
    except ValidationError as exc:
        raise BundleInvalid(sentence_of(Manifest, exc, f"the manifest of {origin!r}")) from exc


def file_entry(path: Path) -> FileEntry:
    """Size and SHA-256 of a file, as a manifest lists it."""
    return FileEntry(sha256=_sha256_of(path), bytes=path.stat().st_size)


def pack(folder: Path, target: Path) -> None:
    """Write a bundle's folder as one uncompressed zip; the same files give the same bytes.

    Raises:
        BundleCorrupt: the folder does not hold what its manifest declares.
    """
    with Bundle.open(folder) as bundle:
        bundle.verify_all()
        signed = [SIGNATURE_NAME] if (folder / SIGNATURE_NAME).is_file() else []
        names = [MANIFEST_NAME, *signed, *sorted(bundle.manifest.files)]
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), (folder / name).read_bytes())


def _signature_in(store: Store) -> bytes | None:
    size = store.size(SIGNATURE_NAME)
    if size is None or size > MAX_SIGNATURE_BYTES:
        return None
    return store.fetch(SIGNATURE_NAME, size).read_bytes()


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
