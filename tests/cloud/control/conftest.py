"""A control plane over real sockets in this process, and releases of the tiny bundle."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from runtime.bundle import MANIFEST_NAME, pack
from runtime.signing import new_key, sign

if TYPE_CHECKING:
    import httpx
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from cloud.control.client import Client
    from cloud.control.settings import Settings
    from tests.runtime.tiny_bundle import TinyBundle


@dataclass
class Maker:
    """Makes signed zips of the tiny bundle; a counter makes a digest of its own."""

    source: Path
    folder: Path
    key: Ed25519PrivateKey = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.key = new_key(self.folder / "maker.pem")

    @property
    def public(self) -> Path:
        return self.folder / "maker.pem.pub"

    def release(self, counter: int, model_id: str = "tiny", *, signed: bool = True, accuracy: float = 0.9) -> Path:
        made = self.folder / f"{model_id}-{counter}-{signed}"
        shutil.copytree(self.source, made)
        tree = json.loads((made / MANIFEST_NAME).read_text())
        measured = {"payload_bytes": 1.0, "accuracy": accuracy, "agreement": 1.0, "items": 100}
        tree.update(counter=counter, model_id=model_id, measured=measured)
        (made / MANIFEST_NAME).write_text(json.dumps(tree))
        if signed:
            sign(made, self.key)
        pack(made, made.with_suffix(".zip"))
        return made.with_suffix(".zip")


@dataclass(frozen=True)
class Served:
    """A control plane that answers."""

    url: str
    admin: str
    settings: Settings
    opened: ExitStack

    def client(self, token: str | None = None) -> Client:
        from cloud.control.client import Client

        return self.opened.enter_context(closing(Client(self.url, token or self.admin)))

    def device(self, name: str, model_id: str) -> httpx.Client:
        """A registered device's view."""
        import httpx

        made = httpx.Client(base_url=f"{self.url}/v1/agent/{name}", trust_env=False, timeout=30, verify=False)
        self.opened.enter_context(made)
        told = {"model_id": model_id, "capabilities": {"cores": 4}}
        made.put("/registration", json=told).raise_for_status()
        return made


@contextmanager
def serving(settings: Settings) -> Iterator[Served]:
    """Serve in a thread of its own until left."""
    from cloud.control.program import make_admin, run

    admin = make_admin(settings, "ada")
    ready, loop, stop = threading.Event(), asyncio.new_event_loop(), asyncio.Event()
    told: dict[str, object] = {}
    failed: list[BaseException] = []

    def tell(line: Mapping[str, object]) -> None:
        told.update(line)
        ready.set()

    def serve() -> None:
        try:
            loop.run_until_complete(run(settings, stop=stop, tell=tell))
        except BaseException as exc:
            failed.append(exc)
            raise
        finally:
            ready.set()
            loop.close()

    thread = threading.Thread(target=serve)
    thread.start()
    assert ready.wait(60)
    assert not failed, failed
    try:
        scheme = "http" if settings.listen.tls is None else "https"
        with ExitStack() as opened:
            yield Served(f"{scheme}://127.0.0.1:{told['port']}", admin, settings, opened)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def maker(tiny_bundle: TinyBundle, tmp_path_factory: pytest.TempPathFactory) -> Maker:
    return Maker(tiny_bundle.path, tmp_path_factory.mktemp("maker") / "keys")


@pytest.fixture
def own_maker(tiny_bundle: TinyBundle, tmp_path: Path) -> Maker:
    """For a test that begins with the first release."""
    return Maker(tiny_bundle.path, tmp_path / "maker")


@pytest.fixture(scope="module")
def plane(maker: Maker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One control plane for a module; its tests use models and devices of their own."""
    from cloud.control.settings import Settings
    from transport.settings import Listen

    folder = tmp_path_factory.mktemp("plane")
    settings = Settings(folder=folder, listen=Listen(), makers=(maker.public,), judge_s=0.05)
    with serving(settings) as served:
        yield served


def report_of(digest: str, model_id: str, run: str = "run-1", **counts: Any) -> dict[str, Any]:
    """What a device tells of one bundle."""
    return {"run": run, "model_id": model_id, "digest": digest, "counts": {digest: counts}}
