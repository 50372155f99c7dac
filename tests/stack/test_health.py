"""The health checks of the containers say what is so: of a real tier, and of the file of a device."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from cloud.control.settings import Settings
from compose import health
from tests.cloud.control.conftest import serving as controlling
from tests.transport.callers import echo, serving
from tests.transport.pki import Pki
from transport.settings import Listen


def config(path: Path, port: int, pki: Pki | None = None) -> str:
    lines = ["[listen]", f"port = {port}"]
    if pki is not None:
        files = (("certificate", "tier.pem"), ("key", "tier.key"), ("client_ca", "ca.pem"))
        lines += ["[listen.tls]", *(f"{key} = '{pki.folder / name}'" for key, name in files)]
    path.write_text("\n".join(lines))
    return str(path)


async def checked(*arguments: str) -> int:
    return await asyncio.to_thread(health.main, list(arguments))


async def test_a_tier_is_well_while_it_serves_and_not_afterwards(tmp_path: Path) -> None:
    async with serving(echo) as server:
        file = config(tmp_path / "edge.toml", server.port)
        assert await checked("tier", file) == 0
    assert await checked("tier", file) == 1


async def test_a_tier_with_tls_is_asked_with_its_own_certificate(tmp_path: Path) -> None:
    (tmp_path / "pki").mkdir()
    pki, other = Pki(tmp_path / "pki"), Pki(tmp_path / "other")
    async with serving(echo, listen=pki.listen) as server:
        assert await checked("tier", config(tmp_path / "edge.toml", server.port, pki)) == 0
        assert await checked("tier", config(tmp_path / "without.toml", server.port)) == 1
        assert await checked("tier", config(tmp_path / "other.toml", server.port, other)) == 1


@pytest.mark.parametrize("secure", [False, True])
async def test_a_control_plane_is_well_while_it_serves_and_not_afterwards(tmp_path: Path, secure: bool) -> None:
    (tmp_path / "pki").mkdir()
    pki = Pki(tmp_path / "pki") if secure else None
    settings = Settings(folder=tmp_path / "state", listen=Listen() if pki is None else pki.listen)
    with controlling(settings) as served:
        file = config(tmp_path / "control.toml", int(served.url.rpartition(":")[2]), pki)
        assert await checked("control", file) == 0
    assert await checked("control", file) == 1


def test_a_device_is_well_while_frames_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = tmp_path / "history.jsonl"
    assert health.main(["device", str(history)]) == 1
    history.touch()
    assert health.main(["device", str(history)]) == 1
    history.write_text("{}\n")
    assert health.main(["device", str(history)]) == 0
    long_ago = time.time() - 3600
    os.utime(history, (long_ago, long_ago))
    capsys.readouterr()
    assert health.main(["device", str(history)]) == 1
    assert "no frame has ended for 36" in capsys.readouterr().out
    assert health.main(["device", str(history), "7200"]) == 0


def test_anything_else_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert health.main(["nonsense"]) == 2
    assert "health.py tier" in capsys.readouterr().err
