"""What must be true of a device's history, whatever was done to the programs. Reads the file, trusts nothing else."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

ENDINGS = {"answered", "expired", "dropped"}
PLACES = {"device", "edge", "cloud"}


def violations(history: str, summary: dict[str, Any] | None, seen_before: str = "") -> list[str]:
    """Everything that is wrong with a history.

    Args:
        history: the file's text.
        summary: the device's last words; None where it was killed.
        seen_before: what was read of the file earlier: all of that must still be there.
    """
    found = []
    if not history.startswith(seen_before):
        found.append("what had been written was lost or changed")
    lines, broken = _lines(history)
    if broken and (summary is not None or broken != [len(lines)]):
        found.append(f"lines {broken} cannot be read")
    found += _of_each(lines)
    found += _of_answers(lines)
    counts = Counter(line.get("frame") for line in lines)
    found += [f"frame {frame} ended {count} times" for frame, count in counts.items() if count != 1]
    if summary is not None:
        found += _of_summary(lines, summary)
    return found


def _lines(history: str) -> tuple[list[dict[str, Any]], list[int]]:
    """The lines that can be read, and the positions of the others."""
    lines, broken = [], []
    for position, text in enumerate(history.splitlines(keepends=True)):
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        if isinstance(line, dict) and text.endswith("\n"):
            lines.append(line)
        else:
            broken.append(position)
    return lines, broken


def _of_each(lines: list[dict[str, Any]]) -> Iterator[str]:
    for line in lines:
        name = f"frame {line.get('frame')}"
        if line.get("ended") not in ENDINGS:
            yield f"{name} ended as {line.get('ended')!r}"
        elif line["ended"] == "answered" and (line.get("by") not in PLACES or line.get("answer") is None):
            yield f"{name} was answered by {line.get('by')!r} with {line.get('answer')!r}"
        elif line["ended"] != "answered" and not line.get("reason"):
            yield f"{name} {line['ended']} without a reason"
        latency_s = line.get("latency_s", -1.0)
        if not 0 <= latency_s < math.inf:
            yield f"{name} took {latency_s} s"


def _of_answers(lines: list[dict[str, Any]]) -> Iterator[str]:
    """Equal items through equal cuts and levels have equal answers, whichever tier gave them: none was another's."""
    answers: defaultdict[tuple[Any, ...], set[int]] = defaultdict(set)
    for line in lines:
        if line.get("ended") == "answered" and not line.get("exit") and isinstance(line.get("answer"), int):
            way = line.get("cut"), line.get("level"), line.get("by") == "device"
            answers[_item_of(line), *way].add(line["answer"])
    for (source, cut, level, _), given in answers.items():
        if len(given) > 1:
            yield f"{source} at cut {cut}, level {level} was answered with {sorted(given)}"


def _item_of(line: dict[str, Any]) -> str:
    """What the frame showed: a file, or of pushed frames the item that their key ends with."""
    source = str(line.get("source"))
    return str(line.get("key")).rpartition("-")[2] if source == "push" else source


def _of_summary(lines: list[dict[str, Any]], summary: dict[str, Any]) -> Iterator[str]:
    frames = {line.get("frame") for line in lines}
    missing = sorted(set(range(1, summary["frames"] + 1)) - frames)
    if missing:
        yield f"frames {missing} have no end"
    if summary["lost"]:
        yield f"the device says that it lost {summary['lost']} frames"
    for ending in ENDINGS:
        count = sum(line.get("ended") == ending for line in lines)
        if count != summary[ending]:
            yield f"{summary[ending]} frames {ending} by its own count, {count} by its history"
