"""Bundles whose maker is known: what was altered, exchanged or is out of date is not used."""

from __future__ import annotations

import random
import resource
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runtime.bundle import MANIFEST_NAME, SIGNATURE_NAME, Bundle, pack
from runtime.errors import BundleError, BundleRolledBack, BundleUntrusted, KeyUnusable
from runtime.manifest import Manifest
from runtime.signing import Ledger, Trust, new_key, private_key, public_key, sign
from tests.runtime.tiny_bundle import TinyBundle

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))


@pytest.fixture
def signed(tiny_bundle: TinyBundle, tmp_path: Path) -> Path:
    folder = tmp_path / "signed"
    shutil.copytree(tiny_bundle.path, folder)
    sign(folder, KEY)
    return folder


def release(folder: Path, target: Path, counter: int) -> Path:
    """The same model, released again under another counter."""
    shutil.copytree(folder, target)
    manifest = Manifest.model_validate_json((folder / MANIFEST_NAME).read_bytes())
    (target / MANIFEST_NAME).write_bytes(manifest.model_copy(update={"counter": counter}).to_bytes())
    sign(target, KEY)
    return target


def trust(ledger: Path | None = None) -> Trust:
    return Trust([KEY.public_key()], None if ledger is None else Ledger(ledger))


def test_a_signed_bundle_opens_and_so_does_its_zip(signed: Path, tmp_path: Path) -> None:
    pack(signed, tmp_path / "signed.zip")
    for path in (signed, tmp_path / "signed.zip"):
        with Bundle.open(path, trust=trust()) as bundle:
            bundle.verify_all()


def test_without_trust_a_signature_is_not_asked_for(tiny_bundle: TinyBundle) -> None:
    Bundle.open(tiny_bundle.path).close()


@pytest.mark.parametrize(
    "content",
    [None, b"", b"ed25519\n", b"x" * 5000, b"ed25519 " + b"0" * 64 + b" " + b"0" * 128],
    ids=["absent", "empty", "cut", "long", "no newline"],
)
def test_a_bundle_without_a_readable_signature_is_refused(signed: Path, content: bytes | None) -> None:
    (signed / SIGNATURE_NAME).unlink() if content is None else (signed / SIGNATURE_NAME).write_bytes(content)
    with pytest.raises(BundleUntrusted):
        Bundle.open(signed, trust=trust())


def test_a_signature_by_a_stranger_is_refused(signed: Path) -> None:
    sign(signed, OTHER)
    with pytest.raises(BundleUntrusted, match="not trusted"):
        Bundle.open(signed, trust=trust())


def test_a_stranger_cannot_sign_in_anothers_name(signed: Path) -> None:
    path = sign(signed, OTHER)
    own, theirs = KEY.public_key().public_bytes_raw().hex(), OTHER.public_key().public_bytes_raw().hex()
    path.write_text(path.read_text().replace(theirs, own))
    with pytest.raises(BundleUntrusted, match="not what its maker signed"):
        Bundle.open(signed, trust=trust())


def test_an_altered_manifest_is_refused_before_it_is_parsed(signed: Path) -> None:
    (signed / MANIFEST_NAME).write_bytes(b"not even JSON")
    with pytest.raises(BundleUntrusted):
        Bundle.open(signed, trust=trust())


def test_what_was_accepted_is_never_gone_below_even_after_a_restart(signed: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.json"
    newer = release(signed, tmp_path / "newer", 7)
    Bundle.open(newer, trust=trust(ledger)).close()
    Bundle.open(newer, trust=trust(ledger)).close()
    with pytest.raises(BundleRolledBack, match="counter 0, and 7"):
        Bundle.open(signed, trust=trust(ledger))


@pytest.mark.parametrize("content", [b"", b"[]", b'{"a": "b"}', b"\xff"])
def test_a_damaged_ledger_is_an_error_and_not_a_fresh_start(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ledger.json").write_bytes(content)
    with pytest.raises(BundleUntrusted, match="ledger"):
        Ledger(tmp_path / "ledger.json")


def test_a_key_that_does_not_fit_on_the_disk_leaves_no_file_behind(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))  # fails writes as a full disk does
    try:
        with pytest.raises(OSError, match="File too large"):
            new_key(tmp_path / "maker.pem")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_keys_are_written_once_and_for_their_owner_only(tmp_path: Path, signed: Path) -> None:
    path = tmp_path / "maker.pem"
    new_key(path)
    assert path.stat().st_mode & 0o077 == 0
    sign(signed, private_key(path))
    Bundle.open(signed, trust=Trust([public_key(tmp_path / "maker.pem.pub")])).close()
    with pytest.raises(KeyUnusable, match="exists already"):
        new_key(path)
    for read in (private_key, public_key):
        with pytest.raises(KeyUnusable):
            read(signed / SIGNATURE_NAME)


@pytest.mark.parametrize("runs", [300, pytest.param(10_000, marks=pytest.mark.long)])
def test_every_changed_bit_every_swap_and_every_rollback_is_detected(signed: Path, tmp_path: Path, runs: int) -> None:
    chance = random.Random(6)
    ledger = tmp_path / "ledger.json"
    current = release(signed, tmp_path / "current", 5)
    original = {
        path.relative_to(current).as_posix(): path.read_bytes() for path in current.rglob("*") if path.is_file()
    }
    older = {name: (signed / name).read_bytes() for name in (MANIFEST_NAME, SIGNATURE_NAME)}
    Bundle.open(current, trust=trust(ledger)).close()
    guarded = trust(ledger)
    names = sorted(original)
    for run in range(runs):
        kind = ("bit", "bit", "swap", "rollback")[run % 4]
        changed = _damage(kind, original, older, names, chance)
        for name, content in changed.items():
            (current / name).write_bytes(content)
        with pytest.raises(BundleError):
            _use(current, guarded, changed)
        for name in changed:
            (current / name).write_bytes(original[name])
    with Bundle.open(current, trust=guarded) as bundle:
        bundle.verify_all()


def _use(path: Path, guarded: Trust, names: Iterable[str]) -> None:
    with Bundle.open(path, trust=guarded) as bundle:
        for name in names:
            bundle.file(name)


def _damage(
    kind: str, files: dict[str, bytes], older: dict[str, bytes], names: list[str], chance: random.Random
) -> dict[str, bytes]:
    if kind == "bit":
        name = chance.choice(names)
        content = bytearray(files[name])
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        return {name: bytes(content)}
    if kind == "swap":
        while files[(pair := chance.sample(names, 2))[0]] == files[pair[1]]:
            pass
        return {pair[0]: files[pair[1]], pair[1]: files[pair[0]]}
    some = chance.choice((list(older), [MANIFEST_NAME], [SIGNATURE_NAME]))
    return {name: older[name] for name in some}
