"""`isthmus top` and `isthmus explain batch` over TLS: shown to those who may look, and every refusal says why."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from isthmus.cli.door import BadDoor, NoAnswer, asked
from serving.operations import Operations
from serving.settings import OperationsSettings
from tests.transport.pki import Pki

HINT = "start it on {port}"


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[int]:
    """A tier's door for operators, which `office` may look at and `camera` may not; its port."""
    pki = Pki(tmp_path)
    for name in ("office", "camera"):
        pki.enrol(name)
        (tmp_path / name).mkdir()
        shutil.copy(tmp_path / "ca.pem", tmp_path / name)
        for kind in ("pem", "key"):
            shutil.copy(tmp_path / f"{name}.{kind}", tmp_path / name / f"device.{kind}")
    found = Operations(
        OperationsSettings(tls=pki.listen.tls, readers=("office",)), ready=lambda: True,
        explain=lambda: {"queued": 3}, registry=CollectorRegistry(), clock=asyncio.get_running_loop().time,
    )  # fmt: skip
    await found.start()
    try:
        yield found.port
    finally:
        await found.stop()


async def test_a_door_with_tls_answers_who_is_named(door: int, tmp_path: Path) -> None:
    known = await asyncio.to_thread(asked, f"localhost:{door}", "/batching", tmp_path / "office", HINT)
    assert known == {"queued": 3}


async def test_who_is_not_named_is_told_so(door: int, tmp_path: Path) -> None:
    with pytest.raises(NoAnswer, match=r"answers 403: .*operations\.readers"):
        await asyncio.to_thread(asked, f"localhost:{door}", "/batching", tmp_path / "camera", HINT)


async def test_without_a_certificate_nothing_is_told(door: int) -> None:
    with pytest.raises(NoAnswer, match="start it on"):
        await asyncio.to_thread(asked, str(door), "/batching", None, HINT)


def test_another_machine_is_not_asked_without_tls() -> None:
    with pytest.raises(BadDoor, match="--tls"):
        asked("edge.example:9201", "/batching", None, HINT)


@pytest.mark.parametrize("at", ["here", "edge:none", "70000", ":"])
def test_what_is_no_address_is_told(at: str) -> None:
    with pytest.raises(BadDoor, match="host:port"):
        asked(at, "/batching", None, HINT)


def test_a_folder_without_a_certificate_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadDoor, match="isthmus enroll device"):
        asked("edge.example:9201", "/batching", tmp_path, HINT)
