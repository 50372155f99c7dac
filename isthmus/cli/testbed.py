"""`isthmus testbed`: play scenarios, compare them, sweep over their keys."""

from __future__ import annotations

import json
import shlex
import sys
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.outputs import file_to_write
from isthmus.cli.programs import overrides_of
from protocol.errors import IsthmusError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from testbed.backends.backend import Backend
    from testbed.running import ScenarioRun
    from testbed.scenarios.material import Supplier
    from testbed.scenarios.scenario import Scenario

app = typer.Typer(no_args_is_help=True, help="Play a scenario of links and faults against the platform.")

Given = Annotated[str, typer.Argument(help="Name of a scenario (see list), or a TOML file.", show_default=False)]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Another value for a dotted key.")]
Root = Annotated[Path, typer.Option(help="Where runs are kept, a folder each.")]
BackendName = Annotated[
    str,
    typer.Option(
        help="process: the real programs; netns: with real TCP on links; docker: in containers; simulated: none, "
        "in computed time."
    ),
]
Repeat = Annotated[int | None, typer.Option(min=1, max=100, help="Repetitions, each with the next seed.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, nothing else.")]

Timings = Annotated[
    Path | None, typer.Option(help="What calibrate has written: simulated takes this machine's times from it.")
]

RUNS = Path("runs/testbed")
SIMULATED = "simulated"
WIDEST_NAME = 16
"""Characters of a name before it is folded."""
TOLD = ("mean_latency_s", "p95_latency_s", "deadline_miss_rate", "accuracy", "frames", "frames_lost")
"""Figures in the terminal; the page has all."""


class BadOption(IsthmusError):
    """An option that cannot be read."""

    exit_code = 2


class ExpectationMissed(IsthmusError):
    """A scenario ran, and something that it expects does not hold."""

    exit_code = 1


@app.command("list")
def list_scenarios(as_json: AsJson = False) -> None:
    """Name the scenarios that come with isthmus, and say what each shows.

    Example: isthmus testbed list
    """
    from testbed.scenarios import library

    found = {name: library.open_scenario(name)[1] for name in library.names()}
    if as_json:
        typer.echo(json.dumps({name: scenario.about for name, scenario in found.items()}))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("scenario", "seconds", "backends", "what it shows")
    for name, scenario in found.items():
        table.add_row(name, f"{scenario.seconds:g}", ", ".join(scenario.backends), scenario.about)
    Console().print(table)


@app.command()
def show(scenario: Given, sets: Sets = None, as_json: AsJson = False) -> None:
    """Check a scenario and print its file; with --json, all settings and the faults as they will come.

    Example: isthmus testbed show elevator
    """
    from testbed.scenarios import library

    _, checked = library.open_scenario(scenario, _overrides(sets))
    if not as_json:
        typer.echo(library.path_of(scenario).read_text(encoding="utf-8"), nl=False)
        return
    from dataclasses import asdict

    played = checked.played()
    faults = [asdict(one) for one in played.occurrences]
    typer.echo(json.dumps({"settings": checked.model_dump(mode="json"), "faults": faults}))


@app.command()
def run(
    scenario: Given,
    sets: Sets = None,
    repeat: Repeat = None,
    backend: BackendName = "process",
    timings: Timings = None,
    root: Root = RUNS,
    as_json: AsJson = False,
) -> None:
    """Play a scenario and write figures, tables and a page; exit code 1 if what it expects does not hold.

    Examples:

      isthmus testbed run elevator

      isthmus testbed run edge-crash --set fault.crash.for_s=8 --repeat 3

      isthmus testbed run office-wifi --backend simulated
    """
    from testbed.results.page import write_page

    done = _play(scenario, _overrides(sets), repeat, _backend(backend, timings), root, quiet=as_json)
    write_page(done.folder / "report.html", [done])
    if as_json:
        typer.echo(json.dumps(_stated(done)))
    else:
        _print([done])
        typer.echo(f"Report: {done.folder / 'report.html'}")
    _require_expected([done])


@app.command()
def compare(
    scenarios: Annotated[list[str], typer.Argument(help="Scenarios, or one on several backends.", show_default=False)],
    sets: Sets = None,
    repeat: Repeat = None,
    backend: Annotated[
        list[str] | None, typer.Option(help="As in run; may be repeated, and each plays all.", show_default="process")
    ] = None,
    timings: Timings = None,
    root: Root = RUNS,
    as_json: AsJson = False,
) -> None:
    """Play several scenarios, or one on several backends, and set their figures against one another.

    Examples:

      isthmus testbed compare edge-crash frozen-edge --repeat 5

      isthmus testbed compare satellite --backend process --backend simulated
    """
    backends = list(dict.fromkeys(backend or ["process"]))
    if len(scenarios) * len(backends) < 2:
        raise BadOption("compare takes two scenarios or more, or two backends; for one, use: isthmus testbed run")
    if timings is not None and SIMULATED not in backends:
        raise BadOption(f"--timings is for the backend {SIMULATED!r}, which is not among {', '.join(backends)}")
    there = [_backend(name, timings if name == SIMULATED else None) for name in backends]
    given = _overrides(sets)
    for name, one in product(scenarios, there):  # what cannot be played is to show before anything is
        _require_playable(one, _opened(name, given, repeat)[1])
    found = [
        _play(name, given, repeat, one, root, label=f"{name} on {one.name}" if len(there) > 1 else "", quiet=as_json)
        for name, one in product(scenarios, there)
    ]
    _finish(found, root, as_json)


@app.command()
def sweep(
    scenario: Given,
    over: Annotated[
        list[str], typer.Option(metavar="KEY=V1,V2,...", help="Values of a dotted key; several are crossed.")
    ],
    sets: Sets = None,
    repeat: Repeat = None,
    backend: BackendName = "process",
    timings: Timings = None,
    root: Root = RUNS,
    as_json: AsJson = False,
) -> None:
    """Play a scenario once for each value of a key, or each combination of several keys.

    Example: isthmus testbed sweep tunnel --over device.camera.policy.name=deadline,neurosurgeon --repeat 3
    """
    given = _overrides(sets)
    grid = [
        [(key, value) for value in str(values).split(",")]
        for key, values in overrides_of(over, "rate_hz=5,10", "--over").items()
    ]
    checked = [dict(point) for point in product(*grid)]
    for point in checked:  # a mistake in the last one is to show before the first one runs
        _opened(scenario, {**given, **point}, repeat)
    there = _backend(backend, timings)
    found = [
        _play(scenario, {**given, **point}, repeat, there, root, label=_told_apart(point), quiet=as_json)
        for point in checked
    ]
    _finish(found, root, as_json)


@app.command()
def calibrate(
    scenario: Annotated[str, typer.Argument(help="Its bundle and inputs are taken.")] = "elevator",
    output: Annotated[Path, typer.Option("--output", "-o", callback=file_to_write, help="File to write.")] = Path(
        "timings.json"
    ),
    as_json: AsJson = False,
) -> None:
    """Time the parts of a bundle and the programs on this machine, for simulated time that is like its own. Takes three
    minutes, and a machine that does nothing else.

    Example: isthmus testbed calibrate --output timings.json
    """
    from tempfile import TemporaryDirectory

    from testbed.backends.calibration import calibrate as calibrated
    from testbed.scenarios.material import material_for

    _, checked = _opened(scenario, {}, None)
    with TemporaryDirectory() as folder:
        found = calibrated(material_for(checked, suppliers(), Path(folder)), Path(folder) / "runs")
    output.write_text(found.model_dump_json(indent=1) + "\n", encoding="utf-8")
    told = {"device_factor": found.device_factor, "tier_factor": found.tier_factor, "programs_s": found.programs_s}
    if as_json:
        typer.echo(json.dumps({"timings": str(output), **told}))
    else:
        typer.echo(
            f"{output}: the parts take {found.device_factor:.2f} times as long on a running device as by themselves, "
            f"{found.tier_factor:.2f} times in a tier; {found.programs_s * 1e3:.1f} ms of a frame or more are neither "
            "computing nor link"
        )


@app.command()
def clean(root: Root = RUNS, as_json: AsJson = False) -> None:
    """Remove what runs have left that were broken off: folders, namespaces and containers.

    Example: isthmus testbed clean
    """
    from testbed.running import clean as cleaned
    from testbed.running import clean_machine

    folders, others = [str(path) for path in cleaned(root)], clean_machine()
    if as_json:
        typer.echo(json.dumps({"removed": folders, "others": others}))
    else:
        typer.echo("\n".join([*folders, *others]) or "nothing to remove")


def _play(
    given: str,
    overrides: Mapping[str, object],
    repeat: int | None,
    backend: Backend,
    root: Path,
    *,
    label: str = "",
    quiet: bool,
) -> ScenarioRun:
    from testbed.running import next_folder, run_scenario

    name, checked = _opened(given, overrides, repeat)
    if not quiet:
        typer.echo(f"{label or name}: {checked.about}", err=True)
    command = shlex.join(["isthmus", *sys.argv[1:]])
    told = (lambda sentence: None) if quiet else (lambda sentence: typer.echo(f"  {sentence}", err=True))
    return run_scenario(
        name, checked, backend, next_folder(root, name), suppliers(),
        label=label, command=command, told=told,
    )  # fmt: skip


def _told_apart(point: Mapping[str, object]) -> str:
    return ", ".join(f"{key}={value}" for key, value in point.items())


def _require_playable(backend: Backend, scenario: Scenario) -> None:
    from testbed.backends.backend import require_playable

    require_playable(backend, scenario)


def _backend(name: str, timings: Path | None) -> Backend:
    from testbed.backends.calibration import read_calibration
    from testbed.backends.named import backend_named

    if timings is not None and name != SIMULATED:
        raise BadOption(f"--timings is for the backend {SIMULATED!r}; {name!r} takes its own time")
    return backend_named(name, None if timings is None else read_calibration(timings))


def _opened(given: str, overrides: Mapping[str, object], repeat: int | None) -> tuple[str, Scenario]:
    from testbed.scenarios import library

    more = {} if repeat is None else {"repetitions": repeat}
    return library.open_scenario(given, {**overrides, **more})


def suppliers() -> dict[str, Supplier]:
    """The built-in bundles."""
    from isthmus.builtin.demo import BUNDLE, write_inputs
    from testbed.scenarios.material import Material

    def digits(folder: Path) -> Material:
        return Material(BUNDLE, folder / "inputs", write_inputs(folder / "inputs"))

    return {"digits": digits}


def _overrides(given: list[str] | None) -> dict[str, object]:
    return overrides_of(given, "device.camera.rate_hz=5")


def _finish(found: Sequence[ScenarioRun], root: Path, as_json: bool) -> None:
    from testbed.results.page import write_page

    page = root / f"comparison-of-{'-'.join(one.folder.name for one in found)}"[:120]
    page = page.with_name(page.name + ".html")
    write_page(page, found)
    if as_json:
        typer.echo(json.dumps({"runs": [_stated(one) for one in found], "page": str(page)}))
    else:
        _print(found)
        typer.echo(f"Comparison: {page}")
    _require_expected(found)


def _stated(done: ScenarioRun) -> dict[str, object]:
    return {
        "scenario": done.name,
        "label": done.label,
        "backend": done.backend,
        "folder": str(done.folder),
        "figures": [one.figures for one in done.repetitions],
        "expectations": {one.name: {"values": one.values, "holds": one.holds} for one in done.verdicts},
        "holds": done.holds,
    }


def _print(found: Sequence[ScenarioRun]) -> None:
    from rich.console import Console
    from rich.table import Table

    from testbed.results.page import COLUMNS, cells, shown_devices

    shown = [(place, heading) for place, (name, heading, _) in enumerate(COLUMNS) if name in TOLD]
    table = Table("scenario", *(heading for _, heading in shown))
    table.columns[0].overflow = "fold"
    table.columns[0].min_width = min(max(len(one.title) for one in found), WIDEST_NAME)
    for column in table.columns[1:]:
        column.justify = "right"
    for done in found:
        for device in shown_devices(done):
            row = cells(done, device)
            table.add_row(done.title if device == "all" else device, *(row[place] for place, _ in shown))
    Console().print(table)
    for done in found:
        for verdict in done.verdicts:
            typer.echo(f"{'holds ' if verdict.holds else 'MISSED'}  {verdict.told}")


def _require_expected(found: Sequence[ScenarioRun]) -> None:
    missed = [verdict.told for done in found for verdict in done.verdicts if not verdict.holds]
    if missed:
        raise ExpectationMissed(f"{len(missed)} expectations do not hold: {'; '.join(missed)}")
