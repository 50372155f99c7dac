"""What a run looks like in a terminal while it goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from runtime.manifest import Manifest
from testbed.comparison import Progress
from testbed.figures import in_time, is_right
from testbed.setting import Setting

_SHOWN = 12


class LiveTable:
    """The last frames of a run under the state of its link."""

    def __init__(self, setting: Setting, manifest: Manifest, name: str, told: str) -> None:
        self._setting, self._manifest, self._name, self._told = setting, manifest, name, told
        self._last: deque[Mapping[str, Any]] = deque(maxlen=_SHOWN)
        self._ended = self._in_time = self._right = 0
        self._at_s = 0.0

    def take(self, progress: Progress) -> None:
        """Take in what has happened since the last call."""
        self._at_s = progress.at_s
        for line in progress.history:
            self._last.append(line)
            self._ended += 1
            self._in_time += in_time(line)
            self._right += in_time(line) and is_right(line, self._setting.labels)

    def __rich__(self) -> RenderableType:
        return Panel(Group(self._head(), self._frames()), title=f"[bold]{self._name}[/bold]: {self._told}", expand=True)

    def _head(self) -> RenderableType:
        phase = self._link()
        ended = max(self._ended, 1)
        line = Text.assemble(
            ("link ", "dim"), phase, ("   in time ", "dim"), f"{self._in_time}/{self._ended}",
            ("   right ", "dim"), f"{self._right / ended:.0%}" if self._ended else "-",
        )  # fmt: skip
        bar = ProgressBar(total=self._setting.duration_s, completed=min(self._at_s, self._setting.duration_s), width=40)
        return Group(line, bar)

    def _link(self) -> Text:
        """The rate now, as a person would say it."""
        link = self._setting.uplink
        if link.kind != "steps":
            return Text(link.path.name if link.path else link.kind)
        end_s, rate = 0.0, link.steps[-1][1]
        for seconds, step in link.steps:
            end_s += seconds
            if self._at_s < end_s:
                rate = step
                break
        if rate <= 0:
            return Text("dead", style="bold red")
        shown = f"{rate / 1e6:.1f} Mbit/s" if rate >= 1e6 else f"{rate / 1e3:.0f} kbit/s"
        return Text(shown, style="green" if rate >= 1e6 else "yellow")

    def _frames(self) -> Table:
        table = Table("frame", "by", "cut", "level", "bytes", "latency", "answer", expand=True, box=None)
        for column in (0, 3, 4, 5):
            table.columns[column].justify = "right"
        for line in self._last:
            table.add_row(*self._row(line))
        for _ in range(_SHOWN - len(self._last)):
            table.add_row()
        return table

    def _row(self, line: Mapping[str, Any]) -> list[str | Text]:
        sent = line["route"] not in (None, "device")
        cut = line["cut"]
        where = (
            "-" if cut is None else "whole" if cut >= len(self._manifest.segments) else self._manifest.cuts[cut].after
        )
        if line["ended"] != "answered":
            told: str | Text = Text(f"{line['ended']}: {line['reason']}", style="red")
        elif is_right(line, self._setting.labels):
            told = Text(f"{line['answer']} right" + ("" if line["in_time"] else ", late"), style="green")
        else:
            told = Text(f"{line['answer']} wrong", style="yellow")
        return [
            str(line["frame"]),
            ("exit" if line["exit"] else str(line["by"] or "-")),
            where,
            str(line["level"]) if sent and line["level"] is not None else "",
            f"{line['payload_bytes']:,}" if sent else "",
            f"{line['latency_s'] * 1e3:,.0f} ms",
            told,
        ]
