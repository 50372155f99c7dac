"""Processor time that a program does not get."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from testbed.scenarios.faults.fault import Fault, Stage


class Steal(Fault):
    """Stops a program for this share of every 20 ms, as a crowded host does to a virtual machine.

    It needs no second load on the machine and takes the same share whatever else runs there.
    """

    reaches: ClassVar[Sequence[str]] = ("tier", "device")

    kind: Literal["steal"]
    share: Annotated[float, Field(gt=0, le=0.95)]

    def begin(self, stage: Stage) -> None:
        for program in stage.programs(self.target):
            program.slow_down(self.share)

    def end(self, stage: Stage) -> None:
        for program in stage.programs(self.target):
            program.resume()
