"""The checker finds what it is there to find."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos.checker import violations

Lines = list[dict[str, Any]]


def line(frame: int, **changes: Any) -> dict[str, Any]:
    usual = {
        "frame": frame, "source": f"{frame % 2}.npy", "ended": "answered", "by": "edge", "answer": frame % 2, "cut": 1,
        "level": 0, "exit": False, "reason": "", "latency_s": 0.02,
    }  # fmt: skip
    return usual | changes


def good() -> Lines:
    return [line(1), line(3), line(2, by="cloud"), line(4, ended="expired", by=None, answer=None, reason="silent")]


SUMMARY = {"frames": 4, "answered": 3, "expired": 1, "dropped": 0, "lost": 0}


def text(lines: Lines) -> str:
    return "".join(json.dumps(one) + "\n" for one in lines)


def test_a_good_history_has_nothing_wrong() -> None:
    assert violations(text(good()), SUMMARY, text(good()[:2])) == []


def test_a_killed_device_may_leave_half_a_line_and_frames_under_way() -> None:
    assert violations(text(good()[:2]) + '{"frame": 2, "sou', None) == []


DAMAGE: dict[str, tuple[Callable[[Lines], Lines], str]] = {
    "a frame without an end": (lambda lines: lines[:3], "have no end"),
    "a frame with two ends": (lambda lines: [*lines, lines[0]], "ended 2 times"),
    "an unknown ending": (lambda lines: [line(1, ended="lost"), *lines[1:]], "ended as 'lost'"),
    "an answer from nobody": (lambda lines: [line(1, by=None), *lines[1:]], "answered by None"),
    "no answer": (lambda lines: [line(1, answer=None), *lines[1:]], "with None"),
    "no reason": (lambda lines: [*lines[:3], line(4, ended="expired", by=None)], "without a reason"),
    "another frame's answer": (lambda lines: [line(1), line(3, answer=0), *lines[2:]], "was answered with [0, 1]"),
    "time backwards": (lambda lines: [line(1, latency_s=-0.1), *lines[1:]], "took -0.1 s"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_each_damage_is_found(name: str) -> None:
    spoil, words = DAMAGE[name]
    assert any(words in found for found in violations(text(spoil(good())), SUMMARY))


def test_pushed_frames_are_told_apart_by_their_keys() -> None:
    pushed = [line(number, source="push", key=f"pushed-{number}-{number % 2}") for number in range(1, 4)]
    summary = {"frames": 3, "answered": 3, "expired": 0, "dropped": 0, "lost": 0}
    assert violations(text(pushed), summary) == []
    swapped = [line(1, source="push", key="pushed-1-0"), *pushed[1:]]
    assert any("answered with [0, 1]" in found for found in violations(text(swapped), summary))


def test_a_count_that_is_not_the_historys_is_found() -> None:
    assert violations(text(good()), SUMMARY | {"answered": 4}) != []
    assert violations(text(good()), SUMMARY | {"lost": 1}) != []


def test_half_a_line_is_a_fault_of_a_device_that_ended_by_itself_or_in_the_middle() -> None:
    assert violations(text(good()) + '{"frame"', SUMMARY) != []
    assert violations('{"frame"\n' + text(good()), None) != []


def test_what_had_been_written_must_stay() -> None:
    assert violations(text(good()[1:]), None, text(good()[:1])) != []
