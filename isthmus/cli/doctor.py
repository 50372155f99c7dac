"""`isthmus doctor`: why an agent does not work, with the fix."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.programs import Configuration, Overrides, overrides_of
from protocol.errors import IsthmusError


class Ill(IsthmusError):
    """A check failed."""

    exit_code = 2


def doctor(
    configuration: Configuration = None,
    settings: Overrides = None,
    everything: Annotated[bool, typer.Option("--all", help="Go on after the first fault.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check settings, clock, certificates, tiers, bundle, source, disk and memory; name the first true cause.

    Example: isthmus doctor camera.toml
    """
    report(configuration, overrides_of(settings), network=True, everything=everything, as_json=as_json)


def report(
    configuration: Path | None,
    overrides: Mapping[str, object],
    *,
    network: bool,
    everything: bool = False,
    as_json: bool = False,
) -> None:
    """Print the findings.

    Raises:
        Ill: something is wrong; the sentence names it and the fix.
    """
    import asyncio
    import json
    from dataclasses import asdict

    from device.doctor import examine

    findings = asyncio.run(examine(configuration, overrides, network=network, first_only=not everything))
    faults = [finding for finding in findings if finding.fault]
    if as_json:
        typer.echo(json.dumps({"well": not faults, "findings": [asdict(finding) for finding in findings]}))
        if faults:
            raise typer.Exit(Ill.exit_code)
        return
    for finding in findings:
        typer.echo(f"{'-' if finding.fault else '+'} {finding.check:<13}{finding.fault or 'well'}")
        if finding.fix:
            typer.echo(f"  {'':<13}fix: {finding.fix}")
    if faults:
        raise Ill(f"{faults[0].check}: {faults[0].fault}; {faults[0].fix}")
