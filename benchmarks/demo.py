"""The demo's comparison, on its own link and on 110 s of a driving-LTE uplink with an outage."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.figure import Figure
from isthmus.builtin import demo
from testbed.figures import figures as figures_of_run

DATA = Path(os.environ.get("ISTHMUS_DATA", "../shared/data"))
TRACE = DATA / "traces/mahimahi/ATT-LTE-driving.up"
LESS_A_POINT = "the best of the three, less a point"
RIVALS = ("device_only", "cloud_jpeg", "best_fixed")


def figures() -> Sequence[Figure]:
    """Play both links; the second only where the trace is at hand."""
    found = _played("moving", demo.moving_link(20.0))
    if TRACE.is_file():
        found += _played("driving-lte", demo.traced_link(TRACE, 770, 880))
    return found


def _played(link_name: str, link: demo.Link) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        setting = demo.make_setting(link, Path(folder), command="isthmus bench demo")
        records = demo.play(setting, Path(folder))
    found = {record.alternative.name: figures_of_run(record) for record in records}
    return list(_compared(link_name, found)) + [
        Figure(f"{link_name}: {name} {key}", value, _unit(key))
        for name, own in found.items()
        for key, value in own.items()
    ]


def _compared(link_name: str, found: Mapping[str, Mapping[str, float]]) -> Sequence[Figure]:
    own = found["adaptive"]
    best = max(found[rival]["accuracy"] for rival in RIVALS)
    latency = [
        Figure(f"{link_name}: mean latency", own["mean_latency_s"], "s", found[rival]["mean_latency_s"], "below", rival)
        for rival in RIVALS
    ]
    missed = [
        Figure(
            f"{link_name}: missed",
            own["deadline_miss_rate"],
            "share",
            found[rival]["deadline_miss_rate"],
            "below",
            rival,
        )
        for rival in RIVALS
    ]
    best_of_answers = max(found[rival]["accuracy_of_answers"] for rival in RIVALS)
    return [
        *latency,
        *missed,
        Figure(f"{link_name}: accuracy", own["accuracy"], "share", best - 0.01, "at least", LESS_A_POINT),
        Figure(
            f"{link_name}: accuracy of answers", own["accuracy_of_answers"], "share",
            best_of_answers - 0.01, "at least", LESS_A_POINT,
        ),
        Figure(f"{link_name}: frames lost", own["frames_lost"], "frames", 0),
    ]  # fmt: skip


def _unit(key: str) -> str:
    if key.endswith("_s"):
        return "s"
    return {"bytes_per_frame": "bytes", "frames": "frames", "frames_lost": "frames"}.get(key, "share")
