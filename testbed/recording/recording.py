"""A deployment's link and timings, from the history of one of its devices."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.manifest import Manifest, Profile
from testbed.recording.errors import RecordingError
from testbed.recording.link import RecordedLink, link_of

Line = Mapping[str, Any]

FEWEST = 10
"""Frames that a recording is made of at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What is played again.

    Attributes:
        seconds: from the first capture to the end of the last frame's interval.
        whole_model_s: how long the whole model takes on the device.
        tiers: those that answered or were believed to be there.
        answers: of each input, by its name, the commonest answer: what stands for the truth where nobody knows it.
    """

    seconds: float
    rate_hz: float
    deadline_s: float
    whole_model_s: float
    link: RecordedLink
    tiers: tuple[str, ...]
    answers: Mapping[str, int]


def read_history(path: Path) -> list[Line]:
    """The lines of frames that were captured live; a line that is being written is left out.

    Raises:
        RecordingError: there is no such file, or it is no history.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise RecordingError(f"history {str(path)!r} cannot be read: {exc}; give a device's [history] path") from exc
    lines = []
    for number, row in enumerate(text[: text.rfind("\n") + 1].splitlines(), start=1):
        try:
            line = json.loads(row)
            is_history = {"captured_s", "ended", "deadline_s", "decision"} <= line.keys()
        except (ValueError, AttributeError):
            is_history = False
        if not is_history:
            raise RecordingError(
                f"history {str(path)!r}, line {number}, is not a frame's; give a device's [history] path"
            )
        if not line["late"]:
            lines.append(line)
    return lines


def recording_of(lines: Sequence[Line], manifest: Manifest) -> Recording:
    """What the lines of a device with this bundle come to.

    Raises:
        RecordingError: they are too few, or say nothing of the link or of the device's speed.
    """
    if len(lines) < FEWEST:
        raise RecordingError(f"{len(lines)} frames are too few for a recording; let the device run for longer")
    begin_s = min(line["captured_s"] for line in lines)
    moved = sorted(({**line, "captured_s": line["captured_s"] - begin_s} for line in lines), key=_captured)
    last_s = moved[-1]["captured_s"]
    interval_s = last_s / (len(moved) - 1)
    link = link_of(moved, last_s + interval_s)
    return Recording(
        seconds=last_s + interval_s,
        rate_hz=1 / interval_s,
        deadline_s=statistics.median(line["deadline_s"] for line in moved),
        whole_model_s=whole_model_s(moved, manifest),
        link=link,
        tiers=tuple(tier for tier in ("edge", "cloud") if tier in link.round_trip_s),
        answers=_answers(moved),
    )


def whole_model_s(lines: Sequence[Line], manifest: Manifest) -> float:
    """From what the device took for the parts that it ran, by the proportions of the bundle's profile.

    Raises:
        RecordingError: the bundle has no profile, or the device ran nothing of it.
    """
    if not manifest.profiles:
        raise RecordingError(f"bundle {manifest.model_id!r} does not say how long its parts take; profile it")
    profile = manifest.profiles[0]
    ratios: list[float] = [
        line["device_s"] / own_s
        for line in lines
        if line["device_s"] > 0 and not line["hedge_s"] and not line["exit"] and (own_s := _own_s(line, profile)) > 0
    ]
    if not ratios:
        raise RecordingError(
            "in this history the device computed nothing, so its speed is not known; record for longer"
        )
    return statistics.median(ratios) * sum(profile.segment_s)


def _own_s(line: Line, profile: Profile) -> float:
    """What the line's head and encoder take in the profile; 0 where the line does not say what was run."""
    if line["cut"] is None:
        return 0.0
    head_s = math.fsum(profile.segment_s[: line["cut"]])
    if line["route"] == "device":
        return head_s if line["cut"] == len(profile.segment_s) else 0.0
    return head_s + profile.encode_s[line["cut"]][line["level"]] if line["level"] is not None else 0.0


def _answers(lines: Sequence[Line]) -> dict[str, int]:
    given: dict[str, Counter[int]] = {}
    for line in lines:
        if line["answer"] is not None:
            given.setdefault(line["source"], Counter())[line["answer"]] += 1
    return {source: counts.most_common(1)[0][0] for source, counts in sorted(given.items())}


def _captured(line: Line) -> float:
    return float(line["captured_s"])
