"""Tables for people, drawn with rich."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from runtime.bundle import Bundle
from runtime.manifest import ImageLevel, LearnedLevel, Level, Measured


def _name(level: Level) -> str:
    if isinstance(level, ImageLevel):
        return f"{level.format} q{level.quality}"
    return f"learned {level.row}" if isinstance(level, LearnedLevel) else level.codec


def _measured(figures: Measured | None) -> tuple[str, str, str]:
    if figures is None:
        return "-", "-", "-"
    return f"{figures.payload_bytes:,.0f}", f"{figures.accuracy:.1%}", f"{figures.agreement:.1%}"


def print_bundle(bundle: Bundle, console: Console | None = None) -> None:
    """Print cuts, levels and exits with their measured figures."""
    out = console or Console()
    manifest = bundle.manifest
    total = sum(segment.macs for segment in manifest.segments) or 1
    whole = f", accuracy {manifest.measured.accuracy:.2%}" if manifest.measured else ""
    out.print(f"[bold]{manifest.model_id}[/bold]  {manifest.task}, {total / 1e6:.1f} MMAC{whole}")
    out.print(f"digest {bundle.digest.hex()}", style="dim")
    if manifest.inputs is not None:
        out.print("takes " + ", ".join(f"{one.name} {one.dtype} {list(one.shape)}" for one in manifest.inputs))
    if manifest.postprocessor is not None:
        out.print(f"needs the post-processor {manifest.postprocessor.name} {manifest.postprocessor.version}")
    table = Table("cut", "after", "shape", "MACs", "level", "codec", "bytes", "right", "agree")
    for column in (1, 2, 5, 6):
        table.columns[column].no_wrap = True
    for column in (0, 3, 4, 6, 7, 8):
        table.columns[column].justify = "right"
    before = 0
    for cut in manifest.cuts:
        before += manifest.segments[cut.index - 1].macs if cut.index else 0
        for number, level in enumerate(cut.levels):
            first = number == 0
            macs = before + (level.encoder_macs if isinstance(level, LearnedLevel) else 0)
            table.add_row(
                str(cut.index) if first else "",
                cut.after if first else "",
                "x".join(map(str, cut.tensor.shape)) if first else "",
                f"{macs / total:.0%}",
                str(number),
                _name(level),
                *_measured(level.measured),
            )
        table.add_section()
    for exit_ in manifest.exits:
        table.add_row(str(exit_.cut), "exit", "", "", "", "", *_measured(exit_.measured))
    out.print(table)
