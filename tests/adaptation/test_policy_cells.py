"""Cells of the great table are played once, taken up again, and forgotten when the code has changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import policy_cells
from benchmarks.policy_cells import Cells, Ground, digest
from testbed.simulation import regret

NAMES = ("deadline", "empirical")


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ground:
    """Four seconds of a link of rows, from one start."""
    trace = tmp_path / "moving.txt"
    trace.write_text("".join(f"{0.2 * k} {(k * 7) % 5 + 0.3}\n" for k in range(60)))
    monkeypatch.setattr(policy_cells, "STARTS", (0.1,))
    monkeypatch.setattr(regret, "SECONDS", 2.0)
    for name in ("REFERRED_TO", "DECIDED_BY"):
        monkeypatch.setattr(policy_cells, name, ("benchmarks/policy_cells.py",))
    return Ground("L", trace, 0.25)


def test_what_was_played_is_kept_and_not_played_again(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = Cells(tmp_path / "kept" / "cells.jsonl")
    monkeypatch.setattr(policy_cells, "_kept", lambda: cells)
    first = policy_cells.played(ground, NAMES)
    later = Cells(tmp_path / "kept" / "cells.jsonl")
    assert later.missing(ground, (*NAMES, "linucb")) == ["linucb"]
    monkeypatch.setattr(policy_cells, "_kept", lambda: later)
    monkeypatch.setattr(policy_cells, "_play", lambda *given: pytest.fail("it has been played"))
    assert policy_cells.played(ground, NAMES) == first
    assert 0.0 <= first["deadline"].regret < 100.0
    assert later.references(ground) == cells.references(ground)


def test_what_other_code_played_counts_for_nothing(ground: Ground, tmp_path: Path) -> None:
    path = tmp_path / "cells.jsonl"
    path.write_text(json.dumps({"code": "another", "at": ground.name, "policy": "deadline", "score": []}) + "\n")
    assert Cells(path).missing(ground, ["deadline"]) == ["deadline"]


def test_words_about_code_do_not_change_its_digest_and_code_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy_cells, "ROOT", tmp_path)
    seen = []
    for text in ('"""One."""\ndef f(): return 1\n', '"""Two."""\ndef f(): return 1  # why\n', "def f(): return 2\n"):
        (tmp_path / "one.py").write_text(text)
        seen.append(digest(["one.py"]))
    assert seen[0] == seen[1] != seen[2]
