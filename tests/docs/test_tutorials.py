"""Each tutorial works as it is written: its files and commands, in order, in a folder with nothing but the pictures."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.docs.pages import FENCE, ROOT
from tests.docs.playing import exchange, played, ports_exchanged, surroundings

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
    done = played(exchange(script_of(page), ports_exchanged()), folder, surroundings(folder), patience_s=280)
    assert done.returncode == 0, done.stdout[-4000:]


def test_there_is_a_tutorial_for_each_beginning() -> None:
    assert {page.stem for page in TUTORIALS} == {"compress", "first-split", "fleet", "own-model", "policy"}
