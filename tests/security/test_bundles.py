"""Bundles that mean harm: paths that lead out, files that grow, claims that overflow; each refused by its own error."""

from __future__ import annotations

import json
import os
import shutil
import stat
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.bundle import MANIFEST_NAME, MAX_MANIFEST_BYTES, Bundle
from runtime.errors import BundleCorrupt, BundleError, BundleInvalid, BundleVersion
from runtime.stores import MAX_ENTRIES
from tests.runtime.tiny_bundle import TinyBundle

Tree = dict[str, Any]


def listed_as(path: str) -> Callable[[Tree], None]:
    """A file with that path in the list of files."""

    def change(tree: Tree) -> None:
        tree["files"][path] = {"sha256": "0" * 64, "bytes": 1}

    return change


def graph_at(path: str) -> Callable[[Tree], None]:
    """A segment whose graph is elsewhere."""

    def change(tree: Tree) -> None:
        tree["segments"][0]["model"] = path

    return change


def at(*keys: str | int, value: object) -> Callable[[Tree], None]:
    def change(tree: Any) -> None:
        for key in keys[:-1]:
            tree = tree[key]
        tree[keys[-1]] = value

    return change


MANIFESTS: dict[str, tuple[type[BundleError], Callable[[Tree], None]]] = {
    "a path upwards": (BundleInvalid, listed_as("../../etc/passwd")),
    "a path upwards in the middle": (BundleInvalid, listed_as("a/../../b")),
    "an absolute path": (BundleInvalid, listed_as("/etc/passwd")),
    "a path of another system": (BundleInvalid, listed_as("..\\..\\boot.ini")),
    "a drive": (BundleInvalid, listed_as("C:boot.ini")),
    "a path with a zero byte": (BundleInvalid, listed_as("a\0.onnx")),
    "an empty path": (BundleInvalid, listed_as("")),
    "the folder itself": (BundleInvalid, listed_as(".")),
    "a path written in two ways": (BundleInvalid, listed_as("a//b")),
    "a graph upwards": (BundleInvalid, graph_at("../segment_0.onnx")),
    "a graph that is absolute": (BundleInvalid, graph_at("/dev/zero")),
    "a graph not listed": (BundleInvalid, graph_at("other.onnx")),
    "weights upwards": (BundleInvalid, at("segments", 0, "data", value=["../weights"])),
    "a dimension of zero": (BundleInvalid, at("cuts", 1, "tensor", "shape", value=[0, 16, 16])),
    "a negative dimension": (BundleInvalid, at("cuts", 1, "tensor", "shape", value=[-8, 16, 16])),
    "a dimension that is no whole number": (BundleInvalid, at("cuts", 1, "tensor", "shape", value=[8.5, 16, 16])),
    "a shape that overflows": (BundleInvalid, at("cuts", 1, "tensor", "shape", value=[1 << 20] * 4)),
    "a type that is no number": (BundleInvalid, at("cuts", 1, "tensor", "dtype", value="object")),
    "a negative size": (BundleInvalid, at("files", "segment_0.onnx", "bytes", value=-1)),
    "a hash that is none": (BundleInvalid, at("files", "segment_0.onnx", "sha256", value="x" * 64)),
    "a hash in capitals": (BundleInvalid, at("files", "segment_0.onnx", "sha256", value="A" * 64)),
    "a name with a path": (BundleInvalid, at("model_id", value="../model")),
    "a key that is not known": (BundleInvalid, at("postprocess", value="os.system('true')")),
    "a codec that is not known": (BundleInvalid, at("cuts", 1, "levels", 0, value={"codec": "pickle"})),
    "cuts out of order": (BundleInvalid, at("cuts", 0, "index", value=1)),
    "no segments": (BundleInvalid, at("segments", value=[])),
    "a thousand segments": (BundleInvalid, lambda tree: tree["segments"].extend(tree["segments"] * 400)),
    "a thousand levels": (BundleInvalid, at("cuts", 1, "levels", value=[{"codec": "raw"}] * 1000)),
    "a later schema": (BundleVersion, at("schema_version", value=2)),
    "a schema that is a word": (BundleInvalid, at("schema_version", value="1")),
    "a schema that is true": (BundleInvalid, at("schema_version", value=True)),
    "a negative counter": (BundleInvalid, at("counter", value=-1)),
    "a hash of another file": (BundleCorrupt, at("files", "segment_0.onnx", "sha256", value="0" * 64)),
    "a size beyond the file": (BundleCorrupt, at("files", "segment_0.onnx", "bytes", value=1 << 60)),
    "a file that is not there": (BundleCorrupt, listed_as("absent.bin")),
}  # fmt: skip


def attempt(path: Path) -> None:
    with Bundle.open(path) as bundle:
        bundle.verify_all()


@pytest.fixture
def folder(tiny_bundle: TinyBundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle.path, tmp_path / "bundle"))


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_hostile_manifest_is_refused(folder: Path, name: str) -> None:
    error, change = MANIFESTS[name]
    tree = json.loads((folder / MANIFEST_NAME).read_text())
    change(tree)
    (folder / MANIFEST_NAME).write_text(json.dumps(tree))
    with pytest.raises(error):
        attempt(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"schema_version": 1, "counter": NaN}',
        b'{"schema_version": 1, "counter": 1e999}',
        b'{"a":' * 100_000,
        b"[" * 100_000,
        b" " * (MAX_MANIFEST_BYTES + 1),
    ],
    ids=["empty", "null", "list", "object", "no UTF-8", "NaN", "endless", "deep objects", "deep lists", "long"],
)
def test_what_is_no_manifest_is_refused(folder: Path, content: bytes) -> None:
    (folder / MANIFEST_NAME).write_bytes(content)
    with pytest.raises(BundleInvalid):
        attempt(folder)


def _replace(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


FILES: dict[str, Callable[[Path], object]] = {
    "a link out of the bundle": lambda folder: _replace(
        folder / "segment_0.onnx", lambda path: path.symlink_to("/etc/hostname")
    ),
    "a link to nowhere": lambda folder: _replace(folder / "segment_0.onnx", lambda path: path.symlink_to("nowhere")),
    "a link to itself": lambda folder: _replace(
        folder / "segment_0.onnx", lambda path: path.symlink_to("segment_0.onnx")
    ),
    "a pipe": lambda folder: _replace(folder / "segment_0.onnx", os.mkfifo),
    "a folder": lambda folder: _replace(folder / "segment_0.onnx", Path.mkdir),
    "a file beside": lambda folder: (folder / "readme.txt").write_text("hello"),
    "a link beside": lambda folder: (folder / "other").symlink_to("/"),
    "a byte more": lambda folder: (folder / "segment_0.onnx").write_bytes(
        (folder / "segment_0.onnx").read_bytes() + b"x"
    ),
    "an empty graph": lambda folder: (folder / "segment_0.onnx").write_bytes(b""),
}


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_folder_is_refused(folder: Path, name: str) -> None:
    FILES[name](folder)
    with pytest.raises(BundleCorrupt):
        attempt(folder)


def _link(archive: zipfile.ZipFile) -> None:
    entry = zipfile.ZipInfo("link")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(entry, "/etc/passwd")


ZIPS: dict[str, Callable[[zipfile.ZipFile], object]] = {
    "an entry upwards": lambda archive: archive.writestr("../evil", b"x"),
    "an absolute entry": lambda archive: archive.writestr("/evil", b"x"),
    "an entry upwards in the middle": lambda archive: archive.writestr("a/../../evil", b"x"),
    "an entry of another system": lambda archive: archive.writestr("..\\evil", b"x"),
    "an entry on a drive": lambda archive: archive.writestr("C:evil", b"x"),
    "a link": _link,
    "two files of one name": lambda archive: archive.writestr(MANIFEST_NAME, b"{}"),
    "a file in a file": lambda archive: archive.writestr("segment_0.onnx/x", b"x"),
    "a bomb": lambda archive: archive.writestr("bomb", bytes(1 << 24), zipfile.ZIP_DEFLATED),
    "more entries than a bundle has": lambda archive: [archive.writestr(f"{i}", b"") for i in range(MAX_ENTRIES)],
    "a file beside": lambda archive: archive.writestr("readme.txt", b"x"),
}


@pytest.mark.parametrize("name", ZIPS)
def test_a_hostile_zip_is_refused_and_nothing_leaves_it(folder: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "outer" / "inner" / "hostile.zip"
    path.parent.mkdir(parents=True)
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore", UserWarning)
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
        ZIPS[name](archive)
    with pytest.raises((BundleCorrupt, BundleInvalid)):
        attempt(path)
    assert not list(tmp_path.rglob("evil"))
