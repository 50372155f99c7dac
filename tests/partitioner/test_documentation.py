"""docs/partitioning.md: its first example runs as written and prints what the page shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from runtime.bundle import Bundle

PAGE = Path(__file__).resolve().parents[2] / "docs" / "partitioning.md"


def test_the_first_example_runs_and_prints_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(r"```(?:python)?\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks[0], str(PAGE), "exec"), {})
    assert capsys.readouterr().out.strip() == blocks[1].strip()
    with Bundle.open(tmp_path / "first.bundle") as bundle:
        bundle.verify_all()
        assert [cut.after for cut in bundle.manifest.cuts] == ["input", "1", "3"]


def test_the_example_of_a_plan_prints_what_the_page_shows(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```(?:python)?\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(blocks[2], str(PAGE), "exec"), {})
    assert capsys.readouterr().out == blocks[3]
