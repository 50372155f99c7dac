"""`isthmus conformance`: ask a server whether it keeps the Open Inference Protocol v2."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from protocol.errors import IsthmusError

if TYPE_CHECKING:
    from isthmus.conformance.running import Report, Verdict


class Deviates(IsthmusError):
    """The server failed a case."""

    exit_code = 1


class BadTarget(IsthmusError):
    """No address, or a shape that is none. For a person to correct."""

    exit_code = 2


def conformance(
    rest: Annotated[str | None, typer.Option(help="Base URL of the REST door, e.g. http://127.0.0.1:8000.")] = None,
    grpc: Annotated[str | None, typer.Option(help="host:port of the gRPC door.")] = None,
    model: Annotated[str | None, typer.Option(help="Model to ask; else the first of the repository's index.")] = None,
    shape: Annotated[
        list[str] | None, typer.Option(metavar="NAME=1,3,224,224", help="Shape of an input. Repeatable.")
    ] = None,
    ca: Annotated[
        Path | None, typer.Option(help="Authority of a server with TLS (PEM); REST is then https://.")
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="What to show where the server asks for a name.")] = None,
    key: Annotated[Path | None, typer.Option(help="The key of that certificate.")] = None,
    only: Annotated[str, typer.Option(help="Only cases whose names begin so, e.g. rest.binary.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="Print the cases and end.")] = False,
) -> None:
    """Put every case to a server, ours or another, and say which it fails and why. The model must be deterministic.

    Example: isthmus conformance --rest http://127.0.0.1:8000 --grpc 127.0.0.1:8001

    Example: isthmus conformance --rest https://tier.local:8000 --ca ca.pem --certificate me.pem --key me.key

    Example: isthmus conformance --grpc 127.0.0.1:8001 --model resnet --shape image=1,3,224,224 --json
    """
    import json

    from isthmus.conformance.running import cases, run
    from isthmus.conformance.target import Credentials, Target

    if list_:
        for case in cases(only):
            typer.echo(f"{case.name:<32}{case.expects}  [{case.clause}]")
        return
    if rest is None and grpc is None:
        raise BadTarget("no server is named; give --rest URL, --grpc host:port, or both")
    credentials = None if ca is None else Credentials(ca, certificate, key)
    target = Target(rest and rest.rstrip("/"), grpc, model=model, shapes=_shapes(shape or []), credentials=credentials)
    try:
        report = run(target, only=only, tell=lambda verdict: None if as_json else _tell(verdict))
    finally:
        target.close()
    typer.echo(json.dumps(report.tree()) if as_json else _summary(report))
    if not report.conforms:
        raise Deviates(f"{report.counts['failed']} of {len(report.verdicts)} cases failed")


def _tell(verdict: Verdict) -> None:
    if verdict.outcome != "passed":
        typer.echo(f"{verdict.outcome:<13}{verdict.name:<32}{verdict.expects} [{verdict.clause}]: {verdict.found}")


def _summary(report: Report) -> str:
    counts = report.counts
    return (
        f"{report.model}: {counts['passed']} cases passed, {counts['failed']} failed, "
        f"{counts['inapplicable']} could not be put"
    )


def _shapes(given: list[str]) -> dict[str, list[int]]:
    found = {}
    for one in given:
        name, _, text = one.partition("=")
        try:
            found[name] = [int(dimension) for dimension in text.split(",")]
        except ValueError as exc:
            raise BadTarget(f"--shape {one!r} is not NAME=NUMBER,NUMBER,...; write e.g. --shape image=1,28,28") from exc
    return found
