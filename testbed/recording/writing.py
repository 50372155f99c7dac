"""A recording as files: a scenario that replays it, the link as a trace of its own, and the answers."""

from __future__ import annotations

import json
from pathlib import Path

from testbed import toml
from testbed.recording.errors import RecordingError
from testbed.recording.link import packet_times_ms
from testbed.recording.recording import Recording


def write_recording(found: Recording, folder: Path, name: str, *, bundle: str, inputs: Path | None) -> Path:
    """Write `NAME.toml`, and beside it `NAME.up` and `NAME.answers.json`; gives the scenario's path.

    Args:
        bundle: what the scenario is to name: a path, or a built-in bundle.
        inputs: folder of the items that were captured; None for a built-in bundle.

    Raises:
        RecordingError: a file cannot be written.
    """
    answers = folder / f"{name}.answers.json"
    scenario = folder / f"{name}.toml"
    times = packet_times_ms(found.link.steps)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if inputs is not None:
            answers.write_text(json.dumps(found.answers, indent=1) + "\n", encoding="utf-8")
        if times:
            (folder / f"{name}.up").write_text("".join(f"{at_ms}\n" for at_ms in times), encoding="ascii")
        scenario.write_text(_scenario(found, bundle, inputs, answers), encoding="utf-8")
    except OSError as exc:
        raise RecordingError(f"{str(folder)!r} cannot be written: {exc.strerror}; choose another folder") from exc
    return scenario


def _scenario(found: Recording, bundle: str, inputs: Path | None, answers: Path) -> str:
    trips = found.link.round_trip_s
    nearest_s = min(trips.values())
    head: dict[str, object] = {
        "about": "Recorded from a deployment.",
        "seconds": round(found.seconds, 3),
        "bundle": bundle,
    }
    if inputs is not None:
        head |= {"inputs": inputs.resolve(), "labels": answers.name}
    steps = [[round(seconds, 3), round(rate_bps)] for seconds, rate_bps in found.link.steps]
    camera = {
        "link": "radio",
        "rate_hz": round(found.rate_hz, 4),
        "deadline_s": round(found.deadline_s, 4),
        "whole_model_s": round(found.whole_model_s, 6),
    }
    tables: dict[str, dict[str, object]] = {"device.camera": dict(camera)}
    tables |= {tier: {} for tier in found.tiers}
    if "cloud" in found.tiers:
        tables["cloud"] = {"extra_delay_s": round(max(trips["cloud"] - nearest_s, 0.0) / 2, 4)}
    tables["link.radio"] = {"uplink": {"kind": "steps", "steps": steps, "delay_s": round(nearest_s / 2, 4)}}
    tables["expect.nothing-lost"] = {"figure": "frames_lost", "at_most": 0}
    return toml.dumps(head) + "".join(f"\n[{name}]\n{toml.dumps(table)}" for name, table in tables.items())
