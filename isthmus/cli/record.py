"""`isthmus record`: turn what a device has noted of its link and its work into a scenario that replays it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

BUILT_IN = "digits"


def record(
    history: Annotated[Path, typer.Argument(help="The device's [history] path.", show_default=False)],
    bundle: Annotated[str, typer.Option(help="The bundle that it runs: its path, or the built-in one.")] = BUILT_IN,
    inputs: Annotated[
        Path | None, typer.Option(help="Folder of the items that it saw; with a bundle given by its path.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.")] = Path("recorded"),
    name: Annotated[str, typer.Option(help="Of the files.")] = "recorded",
    seconds: Annotated[
        float | None, typer.Option(min=1, help="Wait so long, and take what comes meanwhile; else all that is there.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, nothing else.")] = False,
) -> None:
    """Record a deployment: rates and delays of its link, the device's speed and pace; as a scenario and as a trace.

    Examples:

      isthmus record /var/lib/isthmus/history.jsonl --seconds 60 --output field

      isthmus testbed run field/recorded.toml --backend simulated
    """
    from isthmus.builtin.demo import BUNDLE
    from runtime.bundle import Bundle
    from testbed.recording.errors import RecordingError
    from testbed.recording.recording import read_history, recording_of
    from testbed.recording.writing import write_recording

    if (bundle == BUILT_IN) != (inputs is None):
        raise RecordingError(f"a bundle given by its path needs --inputs, and {BUILT_IN!r} has its own; correct that")
    with Bundle.open(BUNDLE if bundle == BUILT_IN else bundle) as opened:
        manifest = opened.manifest
    before = 0
    if seconds is not None:
        before = len(read_history(history))
        time.sleep(seconds)
    found = recording_of(read_history(history)[before:], manifest)
    given = bundle if inputs is None else str(Path(bundle).resolve())
    scenario = write_recording(found, output, name, bundle=given, inputs=inputs)
    if as_json:
        told = {"scenario": str(scenario), "seconds": found.seconds, "whole_model_s": found.whole_model_s,
                "steps": found.link.steps, "round_trip_s": dict(found.link.round_trip_s)}  # fmt: skip
        typer.echo(json.dumps(told))
        return
    rates = [rate_bps / 1e6 for _, rate_bps in found.link.steps]
    typer.echo(
        f"{scenario}: {found.seconds:.0f} s, {min(rates):.2g} to {max(rates):.2g} Mbit/s, the whole model in "
        f"{found.whole_model_s * 1e3:.0f} ms; play it: isthmus testbed run {scenario}"
    )
