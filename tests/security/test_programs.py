"""What the programs themselves refuse and allow: makers of bundles, callers' quotas, and links that others can read."""

from __future__ import annotations

import asyncio
import shutil
import signal
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from device.program import run
from device.settings import load
from protocol.errors import Code
from protocol.messages import Refusal
from runtime.bundle import MANIFEST_NAME
from runtime.errors import BundleUntrusted, SettingsError
from runtime.manifest import Manifest
from runtime.signing import new_key, sign
from tests.runtime.tiny_bundle import TinyBundle
from tests.serving.processes import a_program, failing
from tests.serving.tiers import a_device
from tests.transport.pki import Pki
from transport.errors import InsecureDial


class Maker:
    """Signs releases of the tiny bundle."""

    def __init__(self, folder: Path, bundle: Path) -> None:
        self._folder, self._bundle = folder, bundle
        self._key: Ed25519PrivateKey = new_key(folder / "maker.pem")
        self.public = folder / "maker.pem.pub"
        self.ledger = folder / "accepted.json"

    def release(self, counter: int) -> Path:
        folder = self._folder / f"release-{counter}"
        shutil.copytree(self._bundle, folder)
        manifest = Manifest.model_validate_json((folder / MANIFEST_NAME).read_bytes())
        (folder / MANIFEST_NAME).write_bytes(manifest.model_copy(update={"counter": counter}).to_bytes())
        sign(folder, self._key)
        return folder

    @property
    def lines(self) -> list[str]:
        """Of a program's settings."""
        return [f'trust.keys=["{self.public}"]', f"trust.ledger={self.ledger}"]


@pytest.fixture
def maker(tmp_path: Path, tiny_bundle: TinyBundle) -> Maker:
    return Maker(tmp_path, tiny_bundle.path)


def bundles(*paths: Path) -> str:
    return "bundles=[" + ", ".join(f'"{path}"' for path in paths) + "]"


async def test_an_edge_serves_a_signed_release_by_quota_and_then_no_older_one(
    maker: Maker, tiny_bundle: TinyBundle, tmp_path: Path
) -> None:
    pki = Pki(tmp_path / "pki")
    pki.enrol("camera-1")
    pki.enrol("camera-2")
    config = tmp_path / "edge.toml"
    config.write_text(
        f'[listen]\nport = 0\n[listen.tls]\ncertificate = "{pki.folder}/tier.pem"\nkey = "{pki.folder}/tier.key"\n'
        f'client_ca = "{pki.folder}/ca.pem"\n[quotas.callers.camera-1]\nburst = 2\nframes_per_s = 0.001\n'
    )
    newer, older = maker.release(2), maker.release(1)
    with a_program("edge", tmp_path / "log", str(config), bundles(newer), *maker.lines) as edge:
        port = edge.ready["port"]
        async with (
            a_device(newer, pki.dial("camera-1", port)) as greedy,
            a_device(newer, pki.dial("camera-2", port)) as modest,
        ):
            for _ in range(2):
                await greedy.answer(greedy.frame(tiny_bundle.items[0], 1))
            refusal = await greedy.ask(greedy.frame(tiny_bundle.items[0], 1))
            assert isinstance(refusal, Refusal)
            assert refusal.code is Code.OVERLOADED
            assert refusal.retry_after_us > 0
            for _ in range(3):
                await modest.answer(modest.frame(tiny_bundle.items[0], 1))
        edge.process.send_signal(signal.SIGTERM)
        assert edge.process.wait(30) == 0
    ended = await asyncio.to_thread(failing, "edge", str(config), bundles(older), *maker.lines)
    assert (ended.returncode, ended.stdout) == (3, ""), ended.stderr
    assert "has counter 1, and 2 has been accepted" in ended.stderr


def test_a_cloud_that_trusts_a_maker_does_not_start_with_an_unsigned_bundle(
    maker: Maker, tiny_bundle: TinyBundle
) -> None:
    ended = failing("cloud", bundles(tiny_bundle.path), "listen.port=0", *maker.lines)
    assert (ended.returncode, ended.stdout) == (3, ""), ended.stderr
    assert "is not signed" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_beyond_loopback_a_tier_says_whose_bundles_it_runs(tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    tls = [f"listen.tls.{key}={pki.folder / name}" for key, name in PARTS.items()]
    ended = failing("edge", bundles(tiny_bundle.path), 'listen.host="0.0.0.0"', "listen.port=0", *tls)
    assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
    for words in ("[trust]", "keys =", "ledger =", "unsigned = true"):
        assert words in ended.stderr


PARTS = {"certificate": "tier.pem", "key": "tier.key", "client_ca": "ca.pem"}


async def run_device(bundle: Path, pictures: Path, **changes: object) -> None:
    settings = {"bundle": str(bundle), "source.path": str(pictures), "source.limit": 1, "measure_s": 0.05}
    await run(load(None, settings | {key.replace("__", "."): value for key, value in changes.items()}))


async def test_a_device_runs_what_its_maker_signed_and_nothing_else(
    maker: Maker, tiny_bundle: TinyBundle, pictures: Path
) -> None:
    trust = {"trust__keys": [str(maker.public)], "trust__ledger": str(maker.ledger)}
    await run_device(maker.release(1), pictures, **trust)
    with pytest.raises(BundleUntrusted):
        await run_device(tiny_bundle.path, pictures, **trust)


async def test_a_device_with_tiers_elsewhere_needs_tls_and_a_maker(
    tiny_bundle: TinyBundle, pictures: Path, tmp_path: Path
) -> None:
    with pytest.raises(InsecureDial, match=r"\[NAME\.tls\]"):
        await run_device(tiny_bundle.path, pictures, edge__target="tier.example:7201")
    tls = {"ca": str(tmp_path), "certificate": str(tmp_path), "key": str(tmp_path)}
    with pytest.raises(SettingsError, match="bundle made by anyone"):
        await run_device(tiny_bundle.path, pictures, edge__target="tier.example:7201", edge__tls=tls)


@pytest.mark.parametrize(
    "trust",
    [{"keys": ["a.pub"]}, {"ledger": "l.json"}, {"keys": ["a.pub"], "ledger": "l.json", "unsigned": True}],
    ids=["no ledger", "no keys", "both"],
)
def test_trust_that_contradicts_itself_is_told(trust: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="trust"):
        load(None, {"bundle": "b", "source.path": "p", "trust": trust})


@pytest.fixture
def pictures(tmp_path: Path, tiny_bundle: TinyBundle) -> Path:
    from PIL import Image

    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(tiny_bundle.items[0][0]).save(folder / "0.png")
    return folder
