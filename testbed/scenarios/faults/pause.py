"""A program that stands still: SIGSTOP, and later SIGCONT. Its connections stay open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from testbed.scenarios.faults.fault import Fault, Stage


class Pause(Fault):
    """Stops a program as a debugger, a swapping machine or a snapshot of a virtual machine does."""

    reaches: ClassVar[Sequence[str]] = ("tier", "device", "broker")

    kind: Literal["pause"]

    def begin(self, stage: Stage) -> None:
        for program in stage.programs(self.target):
            program.pause()

    def end(self, stage: Stage) -> None:
        for program in stage.programs(self.target):
            program.resume()
