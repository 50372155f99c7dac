"""Cells of the great table are played once, taken up again, and forgotten when the code has changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from adaptation.policies import DeadlinePolicy
from benchmarks import policy_cells
from benchmarks.policy_cells import Cells, Ground, digest
from testbed.simulation import regret

NAMES = ("deadline", "empirical")


def forget() -> None:
    policy_cells.code_of.cache_clear()
    policy_cells.behaviour.cache_clear()


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    """Four seconds of a link of rows, from one start."""
    trace = tmp_path / "moving.txt"
    trace.write_text("".join(f"{0.2 * k} {(k * 7) % 5 + 0.3}\n" for k in range(60)))
    monkeypatch.setattr(policy_cells, "STARTS", (0.1,))
    monkeypatch.setattr(regret, "SECONDS", 2.0)
    monkeypatch.setattr(policy_cells, "TRIED_S", 1.0)
    monkeypatch.setattr(policy_cells, "ASKED_S", 0.5)
    forget()
    yield Ground("L", trace, 0.25)
    forget()


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
    line = {"code": "another", "at": ground.name, "table": "L", "policy": "deadline", "score": []}
    path.write_text(json.dumps(line) + "\n")
    assert Cells(path).missing(ground, ["deadline"]) == ["deadline"]


def test_a_policy_that_does_otherwise_has_another_code(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: policy_cells.code_of("L", name) for name in NAMES}
    bolder = DeadlinePolicy(replace(policy_cells.GOAL, latency_weight=5.0))
    monkeypatch.setattr(policy_cells, "POLICIES", {**policy_cells.POLICIES, "deadline": (bolder, float("inf"))})
    forget()
    assert policy_cells.code_of("L", "deadline") != before["deadline"]
    assert policy_cells.code_of("L", "empirical") == before["empirical"]
    assert policy_cells.code_of("HW", "empirical") != before["empirical"]


def test_what_shows_with_one_table_only_voids_that_table(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """With L no choice takes the device longer than frames are apart, with MobileNetV2's the whole model does."""
    before = {table: policy_cells.code_of(table, "deadline") for table in ("L", "mobilenet")}
    careless = DeadlinePolicy(replace(policy_cells.GOAL, device_weight=0.0))
    monkeypatch.setattr(policy_cells, "POLICIES", {**policy_cells.POLICIES, "deadline": (careless, float("inf"))})
    forget()
    assert policy_cells.code_of("L", "deadline") == before["L"]
    assert policy_cells.code_of("mobilenet", "deadline") != before["mobilenet"]


def test_words_about_code_do_not_change_its_digest_and_code_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy_cells, "ROOT", tmp_path)
    seen = []
    one, other, moved = '"""One."""\n', '"""Two."""\n', "from elsewhere import g\n"
    for text in (
        f"{one}def f(): return g()\n",
        f"{other}{moved}def f(): return g()  # why\n",
        f"{one}def f(): return 2 * g()\n",
    ):
        (tmp_path / "one.py").write_text(text)
        seen.append(digest(["one.py"]))
    assert seen[0] == seen[1] != seen[2]
