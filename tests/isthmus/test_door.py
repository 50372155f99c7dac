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


@pytest.fixture
async def another(tmp_path: Path) -> AsyncIterator[int]:
    """A program that is no tier and no agent: it says one thing to whoever connects, and hangs up; its port."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write((tmp_path / "says").read_bytes())
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(say, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("says", "told"),
    [
        (b"", "is no such program"),
        (b"\x00\x00\x18\x04\x00\r\n", "is no such program"),
        (b"HTTP/1.0 200 OK\r\n\r\n<html>", "is no such program"),
        (b"HTTP/1.0 404 Not Found\r\n\r\n<html>\n</html>", "knows no /status: it is another program's port"),
    ],
)
async def test_a_port_of_another_program_is_told_as_such(another: int, tmp_path: Path, says: bytes, told: str) -> None:
    (tmp_path / "says").write_bytes(says)
    with pytest.raises(NoAnswer, match=told) as refused:
        await asyncio.to_thread(asked, str(another), "/status", None, HINT)
    assert "\n" not in str(refused.value)
    assert f"start it on {another}" in str(refused.value)
