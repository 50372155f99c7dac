"""Each tutorial works as it is written: its files and commands, in order, in a folder with nothing but the pictures."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import FENCE, ROOT

TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
_NAMED = re.compile(r"# ([\w-]+\.(?:py|toml))\n")


def script_of(page: Path) -> str:
    """One shell script: blocks whose first line is a file's name become that file, blocks of `sh` are run."""
    parts = ["set -euo pipefail", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"]
    for language, text in FENCE.findall(page.read_text(encoding="utf-8")):
        if language == "sh":
            parts.append(text)
        elif named := _NAMED.match(text):
            parts.append(f"cat > {named[1]} <<'END-OF-FILE'\n{text}END-OF-FILE")
        else:
            assert language in ("text", ""), f"{page.name}: a block of {language} says neither its file nor is run"
    return "\n".join(parts)


def with_ports_of_its_own(script: str) -> str:
    """The same with free ports, as other programs may have those of the page."""
    ports = sorted(set(re.findall(r"\b7[23]\d\d\b", script)))
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in ports]
    for port, free in zip(ports, sockets, strict=True):
        script = re.sub(rf"\b{port}\b", str(free.getsockname()[1]), script)
        free.close()
    return script


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "compose").mkdir()
    shutil.copytree(ROOT / "compose" / "frames", tmp_path / "compose" / "frames")
    return tmp_path


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.stem, marks=pytest.mark.long if page.stem == "compress" else pytest.mark.slow)
        for page in TUTORIALS  # the one that trains computes for half a minute
    ],
)
def test_a_tutorial_works_as_it_is_written(page: Path, folder: Path) -> None:
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    environment = {
        "PATH": path,
        "HOME": str(folder),
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "default",
        "TERM": "dumb",
    }
    done = subprocess.Popen(
        ["bash", "-c", with_ports_of_its_own(script_of(page))], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        told, _ = done.communicate(timeout=280)
    finally:
        if done.poll() is None:
            os.killpg(done.pid, signal.SIGKILL)
            done.wait()
    assert done.returncode == 0, told[-4000:]


def test_there_is_a_tutorial_for_each_beginning() -> None:
    assert {page.stem for page in TUTORIALS} == {"compress", "first-split", "fleet", "own-model", "policy"}
