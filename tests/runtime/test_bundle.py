import contextlib
import hashlib
import json
import os
import random
import stat
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.bundle import MAX_MANIFEST_BYTES, Bundle, file_entry, pack, read_manifest
from runtime.errors import BundleCorrupt, BundleError, BundleInvalid, BundleMissing, BundleVersion
from runtime.manifest import Manifest
from tests.runtime.tiny_bundle import TinyBundle

MANIFEST = "manifest.json"


def edit_manifest(folder: Path, change: Callable[[dict], object]) -> None:
    """Rewrite the manifest as someone would who can write JSON but not follow the rules."""
    tree = json.loads((folder / MANIFEST).read_text())
    change(tree)
    (folder / MANIFEST).write_text(json.dumps(tree))


def rezip(folder: Path, target: Path, change: Callable[[zipfile.ZipFile], object], **options: int) -> Path:
    with zipfile.ZipFile(target, "w", **options) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # zipfile warns of the duplicates that a test wants
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
        change(archive)
    return target


def test_a_bundle_is_named_by_the_hash_of_its_manifest(tiny_bundle: TinyBundle) -> None:
    with Bundle.open(tiny_bundle.path) as bundle:
        digest = hashlib.sha256((tiny_bundle.path / MANIFEST).read_bytes()).digest()
        assert bundle.digest == digest
        assert bundle.tag.to_bytes(8, "little") == digest[:8]


def test_the_manifest_survives_its_own_file(tiny_bundle: TinyBundle) -> None:
    content = (tiny_bundle.path / MANIFEST).read_bytes()
    manifest = read_manifest(content)
    assert manifest.to_bytes() == content
    assert manifest == Manifest.model_validate_json(content)


def test_a_whole_bundle_verifies(bundle: Bundle) -> None:
    bundle.verify_all()


def test_weights_are_stored_once(tiny_bundle: TinyBundle) -> None:
    """Every graph is far smaller than the one file that all of them share."""
    sizes = {path.name: path.stat().st_size for path in tiny_bundle.path.glob("*.onnx")}
    assert max(sizes.values()) < 1000
    assert (tiny_bundle.path / "weights.safetensors").stat().st_size > 8000


def test_a_zip_is_the_same_bundle_and_leaves_nothing_behind(tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    pack(tiny_bundle.path, tmp_path / "one.zip")
    pack(tiny_bundle.path, tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with Bundle.open(tiny_bundle.path) as folder, Bundle.open(tmp_path / "one.zip") as zipped:
        assert zipped.digest == folder.digest
        zipped.verify_all()
        unpacked = zipped.file("weights.safetensors")
        assert unpacked.read_bytes() == folder.file("weights.safetensors").read_bytes()
    assert not unpacked.exists()


def test_one_flipped_byte_in_any_file_is_found_before_its_first_use(folder: Path) -> None:
    names = sorted(read_manifest((folder / MANIFEST).read_bytes()).files)
    for name in names:
        content = (folder / name).read_bytes()
        at = random.Random(name).randrange(len(content))
        (folder / name).write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with Bundle.open(folder) as bundle:
            with pytest.raises(BundleCorrupt, match="another SHA-256") as caught:
                bundle.file(name)
            assert caught.value.file == name
            with pytest.raises(BundleCorrupt):
                bundle.verify_all()
        (folder / name).write_bytes(content)
    with Bundle.open(folder) as bundle:
        bundle.verify_all()


def test_a_flipped_byte_of_the_manifest_is_an_error_or_another_bundle(folder: Path) -> None:
    content = (folder / MANIFEST).read_bytes()
    with Bundle.open(folder) as bundle:
        digest = bundle.digest
    for at in random.Random(3).sample(range(len(content)), 60):
        (folder / MANIFEST).write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        with contextlib.suppress(BundleError), Bundle.open(folder) as changed:
            assert changed.digest != digest


@pytest.mark.parametrize("cut_to", [0, 100])
def test_a_truncated_file_is_found_by_its_size(folder: Path, cut_to: int) -> None:
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:cut_to])
    with Bundle.open(folder) as bundle, pytest.raises(BundleCorrupt, match=f"has {cut_to} bytes where the manifest"):
        bundle.file(weights.name)


def test_a_graph_is_refused_when_its_weights_are_damaged(folder: Path) -> None:
    weights = folder / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with Bundle.open(folder) as bundle, pytest.raises(BundleCorrupt, match=r"weights\.safetensors"):
        bundle.model("segment_0.onnx", ["weights.safetensors"])


def test_a_graph_may_read_only_the_weights_that_it_declares(bundle: Bundle) -> None:
    with pytest.raises(BundleCorrupt, match=r"reads weights from 'weights\.safetensors'"):
        bundle.model("segment_0.onnx", [])


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "segment_1.onnx").unlink()
    with Bundle.open(folder) as bundle, pytest.raises(BundleCorrupt, match=r"'segment_1\.onnx' is missing"):
        bundle.verify_all()


def test_a_file_that_nobody_listed_is_found(folder: Path) -> None:
    (folder / "extra").mkdir()
    (folder / "extra" / "run.sh").write_text("echo")
    with Bundle.open(folder) as bundle:
        with pytest.raises(BundleCorrupt, match=r"'extra/run\.sh' is in the bundle but not in its manifest"):
            bundle.verify_all()
        with pytest.raises(BundleCorrupt, match="not listed"):
            bundle.file("extra/run.sh")


@pytest.mark.parametrize("path", ["../segment_0.onnx", "/etc/passwd", "a/../../b", "a\\b", "C:x", "./a", "a//b", ""])
def test_a_path_out_of_the_bundle_is_refused_in_the_manifest(folder: Path, path: str) -> None:
    def escape(tree: dict) -> None:
        tree["files"][path] = tree["files"].pop("segment_0.onnx")
        tree["segments"][0]["model"] = path

    edit_manifest(folder, escape)
    with pytest.raises(BundleInvalid, match="not a path inside the bundle"):
        Bundle.open(folder)


def test_a_link_out_of_the_bundle_is_refused_even_to_the_right_bytes(folder: Path, tmp_path: Path) -> None:
    (folder / "segment_0.onnx").rename(tmp_path / "outside.onnx")
    (folder / "segment_0.onnx").symlink_to(tmp_path / "outside.onnx")
    with Bundle.open(folder) as bundle, pytest.raises(BundleCorrupt, match="a link that leads out"):
        bundle.file("segment_0.onnx")


def test_a_link_to_nowhere_and_a_pipe_are_refused(folder: Path) -> None:
    (folder / "segment_0.onnx").unlink()
    (folder / "segment_0.onnx").symlink_to("nowhere")
    (folder / "segment_1.onnx").unlink()
    os.mkfifo(folder / "segment_1.onnx")
    with Bundle.open(folder) as bundle:
        with pytest.raises(BundleCorrupt, match="leads nowhere"):
            bundle.file("segment_0.onnx")
        with pytest.raises(BundleCorrupt, match="not a regular file"):
            bundle.file("segment_1.onnx")


@pytest.mark.parametrize(("version", "fix"), [(2, "update isthmus"), (0, "export it again")])
def test_another_schema_version_says_what_to_do(folder: Path, version: int, fix: str) -> None:
    edit_manifest(folder, lambda tree: tree.update(schema_version=version, something_new=1))
    with pytest.raises(BundleVersion, match=fix) as caught:
        Bundle.open(folder)
    assert f"schema version {version}" in str(caught.value)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tree: tree.pop("schema_version"), ["no schema_version"]),
        (lambda tree: tree.update(schema_version="1"), ["no schema_version"]),
        (lambda tree: tree["cuts"][1]["levels"][0].update(encodr="x"), ["'cuts.1.", "encodr'", "mean 'encoder'"]),
        (lambda tree: tree.pop("segments"), ["'segments' is missing"]),
        (lambda tree: tree["cuts"].pop(), ["cuts must be numbered"]),
        (lambda tree: tree["cuts"][1].update(index=7), ["cuts must be numbered"]),
        (lambda tree: tree["files"].pop("weights.safetensors"), ["'weights.safetensors' is used but not listed"]),
        (lambda tree: tree["input"].update(shape=[1 << 20, 1 << 20]), ["more than"]),
        (lambda tree: tree["input"].update(shape=[-1, 3]), ["greater than or equal to 1"]),
        (lambda tree: tree["input"].update(dtype="float64"), ["input.dtype = 'float64'"]),
        (lambda tree: tree["files"]["segment_0.onnx"].update(sha256="12"), ["sha256 = '12'"]),
        (lambda tree: tree["exits"].append(tree["exits"][0]), ["two exits name the same cut"]),
        (
            lambda tree: tree["cuts"][1]["levels"].insert(0, {"codec": "image", "format": "webp", "quality": 5}),
            ["cut 0"],
        ),
        (lambda tree: tree["cuts"][1]["levels"].insert(0, {"codec": "magic"}), ["magic"]),
        (lambda tree: tree.update(outputs=[]), ["at least one output"]),
    ],
)
def test_a_manifest_that_breaks_a_rule_is_one_sentence(folder: Path, change: Callable, words: list[str]) -> None:
    edit_manifest(folder, change)
    with pytest.raises(BundleInvalid) as caught:
        Bundle.open(folder)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not json", b"[" * 100_000, b"[]", b"\xff\xfe", b'{"schema_version": NaN}'])
def test_a_manifest_that_is_no_json_object_is_refused(folder: Path, content: bytes) -> None:
    (folder / MANIFEST).write_bytes(content)
    with pytest.raises(BundleInvalid):
        Bundle.open(folder)


def test_an_oversized_manifest_is_refused_unread(folder: Path) -> None:
    with (folder / MANIFEST).open("r+b") as file:
        file.truncate(MAX_MANIFEST_BYTES + 1)
    with pytest.raises(BundleInvalid, match="more than"):
        Bundle.open(folder)


def test_no_bundle_at_all_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(BundleMissing, match="there is no bundle"):
        Bundle.open(tmp_path / "nothing")
    with pytest.raises(BundleMissing, match=r"holds no manifest\.json"):
        Bundle.open(tmp_path)
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(BundleInvalid, match="neither a folder nor"):
        Bundle.open(tmp_path / "text.zip")


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "a\\..\\evil", "c:evil", "a//b", "../folder/"])
def test_a_zip_entry_that_leads_out_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    target = rezip(folder, tmp_path / "b.zip", lambda archive: archive.writestr(zipfile.ZipInfo(name), ""))
    with pytest.raises(BundleCorrupt, match="leads out of the bundle"):
        Bundle.open(target)


def test_a_zip_holds_plain_stored_files_once_each(folder: Path, tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(BundleCorrupt, match="is a link"):
        Bundle.open(rezip(folder, tmp_path / "1.zip", lambda archive: archive.writestr(link, "/etc/passwd")))
    with pytest.raises(BundleInvalid, match="is compressed"):
        Bundle.open(rezip(folder, tmp_path / "2.zip", lambda archive: None, compression=zipfile.ZIP_DEFLATED))
    with pytest.raises(BundleInvalid, match="two files of one name"):
        Bundle.open(rezip(folder, tmp_path / "3.zip", lambda archive: archive.writestr("segment_0.onnx", "x")))
    with pytest.raises(BundleCorrupt, match="name of a file"):
        Bundle.open(rezip(folder, tmp_path / "4.zip", lambda archive: archive.writestr("segment_0.onnx/x", "x")))


def test_a_zip_is_checked_like_a_folder(folder: Path, tmp_path: Path) -> None:
    target = rezip(folder, tmp_path / "b.zip", lambda archive: archive.writestr("extra", "x"))
    with Bundle.open(target) as bundle, pytest.raises(BundleCorrupt, match="'extra' is in the bundle but not"):
        bundle.verify_all()
    whole = target.read_bytes()
    weights = (folder / "weights.safetensors").read_bytes()
    target.write_bytes(whole.replace(weights[-64:], bytes(64)))
    with Bundle.open(target) as bundle, pytest.raises(BundleCorrupt, match=r"weights\.safetensors"):
        bundle.file("weights.safetensors")
    target.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BundleInvalid):
        Bundle.open(target)


def test_a_file_is_hashed_once_and_verify_all_hashes_it_anew(folder: Path) -> None:
    with Bundle.open(folder) as bundle:
        path = bundle.file("segment_0.onnx")
        path.write_bytes(bytes(path.stat().st_size))
        assert bundle.file("segment_0.onnx") == path
        with pytest.raises(BundleCorrupt, match="SHA-256"):
            bundle.verify_all()


def test_an_entry_states_size_and_hash(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    entry = file_entry(tmp_path / "f")
    assert (entry.bytes, entry.sha256) == (3, hashlib.sha256(b"abc").hexdigest())
