"""`isthmus profile BUNDLE`: what the parts of bundles take on this machine. Needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.outputs import file_to_write

if TYPE_CHECKING:
    from collections.abc import Callable

    from partitioner.profiling.machine import MachineProfile, Power
    from runtime.bundle import Bundle


def profile(
    bundles: Annotated[list[Path], typer.Argument(help="Bundles to measure.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", callback=file_to_write, help="Where the profile goes.")
    ] = Path("profile.json"),
    engine: Annotated[str, typer.Option(help="Engine to measure with.")] = "onnxruntime",
    threads: Annotated[int, typer.Option(min=1, help="Threads of one run.")] = 1,
    seconds: Annotated[float, typer.Option(min=0.0, help="Time to spend on each bundle.")] = 5.0,
    watts: Annotated[
        float | None, typer.Option(min=0.0, help="What computing adds to the draw, where it cannot be measured.")
    ] = None,
    memory: Annotated[bool, typer.Option(help="Measure peak memory, in a process of its own.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the profile instead of a table.")] = False,
) -> None:
    """Time every part of bundles on this machine and write its profile, for plans made elsewhere.

    Ten segments are enough to predict other networks; a plan for a network that was measured here is measured.

    Example: isthmus profile mobilenet.bundle --watts 4 --output pi4.json
    """
    from contextlib import ExitStack

    from rich.console import Console

    from partitioner.profiling.memory import peaks_of
    from partitioner.profiling.timing import Effort, measure_machine
    from runtime.bundle import Bundle
    from runtime.engines import engine_named

    console = Console(stderr=True)
    with ExitStack() as stack, console.status("opening bundles") as status:
        runs_on = engine_named(engine, threads)
        opened = [stack.enter_context(Bundle.open(path)) for path in bundles]
        peaks = {}
        for path, bundle in zip(bundles, opened, strict=True) if memory else ():
            status.update(f"measuring the memory of {path}")
            found = peaks_of(path, engine, threads)
            if found is not None:
                peaks[bundle.digest.hex()] = found
        measured = measure_machine(
            opened,
            runs_on,
            effort=Effort(budget_s=seconds),
            power=_power(opened[0], engine, threads, watts, status.update),
            peaks=peaks,
            report=status.update,
        )
    measured.save(output)
    if as_json:
        typer.echo(measured.model_dump_json(exclude_none=True))
    else:
        _print(measured, output)


def _power(
    bundle: Bundle, engine: str, threads: int, watts: float | None, report: Callable[[str], None]
) -> Power | None:
    from partitioner.profiling.energy import Counters, measured_power
    from partitioner.profiling.machine import Power
    from partitioner.profiling.timing import inputs_for
    from runtime.engines import engine_named
    from runtime.stage import Stage

    if watts is not None:
        return Power(watts=watts, source="declared")
    stage = Stage(bundle, engine_named(engine, threads))
    (item,) = inputs_for(bundle.manifest, 1)
    report("measuring power, if the machine tells")
    return measured_power(Counters(), lambda: stage.run(item))


def _print(measured: MachineProfile, output: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("model", "segment", "MACs", "median", "spread", "runs", "peak memory")
    for column in (1, 2, 3, 4, 5, 6):
        table.columns[column].justify = "right"
    for model in measured.models:
        for number, segment in enumerate(model.segments):
            peak = "-" if segment.peak_bytes is None else f"{segment.peak_bytes / 1e6:.1f} MB"
            table.add_row(
                model.model_id if number == 0 else "",
                str(number),
                f"{segment.macs:,}",
                f"{1e3 * segment.time.median_s:.3f} ms",
                f"{1e3 * segment.time.spread_s:.3f} ms",
                str(segment.time.runs),
                peak,
            )
        table.add_section()
    power = "no power known" if measured.power is None else f"{measured.power.watts:g} W ({measured.power.source})"
    console = Console()
    console.print(table)
    console.print(f"{output}: {measured.machine}, {measured.engine}, {measured.threads} threads, {power}")
