"""Who made a bundle, and whether it is the newest one accepted: Ed25519 (RFC 8032) over its manifest, and a ledger.

The manifest names the SHA-256 of every other file, so one signature over its bytes covers the bundle. The signature
lies beside it as `manifest.sig`, one line of text: `ed25519 KEY SIGNATURE`, in hexadecimal. It is checked before the
manifest is parsed. A bundle's `counter` may never be less than the largest one accepted of the same model.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from runtime.bundle import MANIFEST_NAME, SIGNATURE_NAME
from runtime.errors import BundleRolledBack, BundleUntrusted, KeyUnusable
from runtime.manifest import Manifest

_DOMAIN: Final = b"isthmus bundle manifest, version 1\n"
"""In front of what is signed, so that no signature made for another purpose fits."""
_LINE: Final = re.compile(rb"ed25519 ([0-9a-f]{64}) ([0-9a-f]{128})\n", re.ASCII)


class Ledger:
    """The largest counter accepted of each model, kept on disk. Safe to share between threads, not processes.

    Args:
        path: a JSON file, made when first written.

    Raises:
        BundleUntrusted: the file is there and cannot be read, so that a rollback would go unseen.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._counters = _read_counters(path)

    def accept(self, model_id: str, counter: int) -> None:
        """Take note of a bundle that is about to be used; on disk before this returns.

        Raises:
            BundleRolledBack: a newer one has been accepted before.
        """
        with self._lock:
            newest = self._counters.get(model_id, 0)
            if counter < newest:
                raise BundleRolledBack(model_id, counter, newest)
            if counter > newest:
                self._counters[model_id] = counter
                self._write()

    def _write(self) -> None:
        fresh = self._path.with_name(self._path.name + ".part")
        with fresh.open("w") as file:
            json.dump(self._counters, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)


class Trust:
    """Whose bundles are used here.

    Args:
        keys: the makers' public keys; each may sign any model.
        ledger: what has been accepted; None accepts older bundles of the same makers too.
    """

    def __init__(self, keys: Iterable[Ed25519PublicKey], ledger: Ledger | None = None) -> None:
        self._keys = {key.public_bytes_raw(): key for key in keys}
        self._ledger = ledger

    def check_signature(self, manifest_bytes: bytes, signature: bytes | None, *, origin: str) -> None:
        """Check who made a manifest, before anything in it is read.

        Args:
            manifest_bytes: the file as it lies there.
            signature: the bytes of `manifest.sig`, None where there is none.
            origin: names the bundle in errors.

        Raises:
            BundleUntrusted: not signed, by none of the keys, or altered since.
        """
        if signature is None:
            raise BundleUntrusted(f"bundle {origin!r} is not signed; sign it with: isthmus sign bundle")
        line = _LINE.fullmatch(signature)
        if line is None:
            raise BundleUntrusted(f"the signature of bundle {origin!r} cannot be read; copy the bundle again")
        key = self._keys.get(bytes.fromhex(line[1].decode()))
        if key is None:
            raise BundleUntrusted(
                f"bundle {origin!r} is signed by a key that is not trusted here; add its public key if it should be"
            )
        try:
            key.verify(bytes.fromhex(line[2].decode()), _DOMAIN + manifest_bytes)
        except InvalidSignature as exc:
            raise BundleUntrusted(
                f"bundle {origin!r} is not what its maker signed; copy it again from where it was made"
            ) from exc

    def accept(self, manifest: Manifest) -> None:
        """Check and note the counter of a manifest whose signature holds.

        Raises:
            BundleRolledBack: a newer bundle of this model has been accepted here.
        """
        if self._ledger is not None:
            self._ledger.accept(manifest.model_id, manifest.counter)


def sign(folder: Path, key: Ed25519PrivateKey) -> Path:
    """Sign the manifest of a bundle's folder; returns the signature's path. A zip is packed after signing.

    Raises:
        OSError: the manifest cannot be read or the signature not be written.
    """
    signature = key.sign(_DOMAIN + (folder / MANIFEST_NAME).read_bytes())
    path = folder / SIGNATURE_NAME
    path.write_text(f"ed25519 {key.public_key().public_bytes_raw().hex()} {signature.hex()}\n")
    return path


def new_key(path: Path) -> Ed25519PrivateKey:
    """Make a private key, readable by its owner only, and beside it the public one, `NAME.pub`.

    Raises:
        KeyUnusable: the file exists already; nothing is overwritten.
    """
    key = Ed25519PrivateKey.generate()
    plain = serialization.NoEncryption()
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file, ExitStack() as failed:
            failed.callback(path.unlink)
            file.write(secret)
            file.flush()
            failed.pop_all()
    except FileExistsError as exc:
        raise KeyUnusable(f"{str(path)!r} exists already; name a new file, for a lost key cannot be replaced") from exc
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    path.with_name(path.name + ".pub").write_bytes(public)
    return key


def private_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key (PEM, PKCS 8, not encrypted).

    Raises:
        KeyUnusable: not there, or no such key.
    """
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is no PEM text of a key without a password"
        raise KeyUnusable(f"no private key can be read from {str(path)!r}: {why}; make one: isthmus sign key") from exc
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyUnusable(f"{str(path)!r} holds a key of another kind than Ed25519; make one: isthmus sign key")
    return key


def public_key(path: Path) -> Ed25519PublicKey:
    """Read a public key (PEM).

    Raises:
        KeyUnusable: not there, or no such key.
    """
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is no PEM text of a public key"
        raise KeyUnusable(f"no public key can be read from {str(path)!r}: {why}; name the maker's .pub file") from exc
    if not isinstance(key, Ed25519PublicKey):
        raise KeyUnusable(f"{str(path)!r} holds a key of another kind than Ed25519; name the maker's .pub file")
    return key


def _read_counters(path: Path) -> dict[str, int]:
    try:
        tree = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        raise BundleUntrusted(
            f"the ledger of accepted bundles {str(path)!r} cannot be read ({exc}); restore it, or remove it"
        ) from exc
    if not isinstance(tree, dict) or any(type(counter) is not int for counter in tree.values()):
        raise BundleUntrusted(f"{str(path)!r} is no ledger of accepted bundles; restore it, or remove it to begin anew")
    return tree
