"""docs/partitioning.md: its examples that print something print what the page shows."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from runtime.bundle import Bundle
from tests.docs.pages import FENCE, ROOT

PAGE = ROOT / "docs" / "partitioning.md"


def printing() -> list[tuple[str, str]]:
    """Blocks of Python, and the unnamed block behind each that shows what it prints."""
    found = [(language, text) for language, text in FENCE.findall(PAGE.read_text(encoding="utf-8"))]
    behind = pairwise(found)
    return [(code, shown) for (one, code), (other, shown) in behind if (one, other) == ("python", "")]


def test_the_first_example_runs_and_prints_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, shown = printing()[0]
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(PAGE), "exec"), {})
    assert capsys.readouterr().out.strip() == shown.strip()
    with Bundle.open(tmp_path / "first.bundle") as bundle:
        bundle.verify_all()
        assert [cut.after for cut in bundle.manifest.cuts] == ["input", "1", "3"]


def test_the_example_of_a_plan_prints_what_the_page_shows(capsys: pytest.CaptureFixture[str]) -> None:
    code, shown = printing()[1]
    exec(compile(code, str(PAGE), "exec"), {})
    assert capsys.readouterr().out == shown
