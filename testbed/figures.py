"""From what a run left behind to the figures of a comparison. Every captured frame counts, answered or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from testbed.alternatives import Alternative
from testbed.setting import Setting

DEFINITIONS: Mapping[str, str] = {
    "mean_latency_s": "from capture to answer, mean over all captured frames; a frame without an answer counts with "
    "the deadline, or with the time until it was given up if that is longer",
    "p95_latency_s": "95th percentile of the same",
    "deadline_miss_rate": "share of all captured frames that were not answered in time",
    "bytes_per_frame": "bytes of all messages sent, retries included, over all captured frames",
    "accuracy": "right answers given in time, over all captured frames",
    "accuracy_of_answers": "right answers, over all answers given, late ones included",
    "frames": "frames captured",
    "frames_lost": "frames captured less frames that ended exactly once",
}


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What one alternative left behind.

    Attributes:
        history: the device's lines, one for each frame that ended.
        link: the radio link's lines, one for each 100 ms.
        captured: frames that the device says it captured.
        first_capture_s: what added to the history's `captured_s` gives seconds since the link started.
    """

    alternative: Alternative
    setting: Setting
    history: Sequence[Mapping[str, Any]]
    link: Sequence[Mapping[str, Any]]
    captured: int
    first_capture_s: float = 0.0


def figures(record: RunRecord) -> dict[str, float]:
    """The figures of `DEFINITIONS`, in that order."""
    ends = Counter(line["frame"] for line in record.history)
    lines = list({line["frame"]: line for line in record.history}.values())
    answered = [line for line in lines if line["ended"] == "answered"]
    latencies = [latency_of(line) for line in lines]
    latencies += [record.setting.deadline_s] * (record.captured - len(lines))
    frames = max(record.captured, 1)
    return {
        "mean_latency_s": float(np.mean(latencies)) if latencies else 0.0,
        "p95_latency_s": float(np.percentile(latencies, 95)) if latencies else 0.0,
        "deadline_miss_rate": 1 - sum(in_time(line) for line in lines) / frames,
        "bytes_per_frame": sum(line["message_bytes"] for line in lines) / frames,
        "accuracy": sum(in_time(line) and is_right(line, record.setting.labels) for line in lines) / frames,
        "accuracy_of_answers": sum(is_right(line, record.setting.labels) for line in answered) / max(len(answered), 1),
        "frames": record.captured,
        "frames_lost": record.captured - sum(count == 1 for count in ends.values()),
    }


def latency_of(line: Mapping[str, Any]) -> float:
    """Seconds that a frame counts with: to its answer; without one, at least its deadline."""
    latency_s = float(line["latency_s"])
    return latency_s if line["ended"] == "answered" else max(latency_s, float(line["deadline_s"]))


def in_time(line: Mapping[str, Any]) -> bool:
    """Whether the frame was answered before its deadline."""
    return bool(line["ended"] == "answered" and line["in_time"])


def is_right(line: Mapping[str, Any], labels: Mapping[str, int]) -> bool:
    """Whether the frame was answered, late or not, and the answer is the label."""
    return bool(line["ended"] == "answered" and line["answer"] == labels.get(line["source"]))
