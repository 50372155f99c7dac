"""`bench backends` in sittings: what was played is not played again, and figures are of what all have played."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import backends


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, str, int]]:
    """Runs that were asked for, each with a mean latency of its own; containers cannot be played here."""
    asked: list[tuple[str, str, int]] = []
    latency_s = {"process": 0.100, "netns": 0.104, "simulated": 0.095}

    def play(name: str, backend: str, seed: int) -> backends.Found:
        asked.append((name, backend, seed))
        return {"mean_latency_s": latency_s[backend] * seed, "deadline_miss_rate": 0.02 if backend == "netns" else 0.01}

    monkeypatch.setattr(backends, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(backends, "SCENARIOS", ("elevator", "tunnel"))
    monkeypatch.setattr(backends, "SEEDS", (1, 2))
    monkeypatch.setattr(backends, "_played", play)
    monkeypatch.setattr(backends, "timings", lambda: None)
    monkeypatch.setattr(
        backends, "_reasons", lambda name, backend: ["no container engine answers"] if backend == "docker" else []
    )
    return asked


def test_what_was_played_is_kept_and_backends_take_turns(played: list[tuple[str, str, int]]) -> None:
    backends.play(float("inf"), ["tunnel"])
    backends.play(float("inf"))
    assert len(played) == len(set(played)) == 8
    assert played[:2] == [("tunnel", "process", 1), ("tunnel", "netns", 1)]
    played.clear()
    backends.play(float("inf"))
    assert played == []


def test_no_time_plays_nothing_and_says_what_is_left(
    played: list[tuple[str, str, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    backends.play(0.0)
    assert played == []
    assert capsys.readouterr().out == "8 runs of real programs are still to be played\n"


def test_the_farthest_two_are_held_against_one_another_and_who_did_not_run_is_told(
    played: list[tuple[str, str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {figure.name: figure for figure in backends.figures()}
    latency = found["elevator: latency, apart by"]
    assert latency.value == pytest.approx(0.104 / 0.095 - 1)
    assert (latency.holds, latency.runs) == (True, 2)
    missed = found["elevator: missed, apart by"]
    assert missed.value == pytest.approx((0.02 - 0.01) / backends.FEW)
    absent = found["tunnel, docker"]
    assert (absent.unit, absent.holds, absent.against) == ("not run", None, "no container engine answers")
    alike = found["scenarios in which backends are alike"]
    assert (alike.value, alike.holds, alike.against) == (2, False, "elevator, tunnel")
    backends._path("tunnel", "netns", 2).unlink()
    assert backends.figures()[-2].runs == 1, "the second seed is not whole any more"
