"""A wall clock that jumps, as after a long sleep or a first contact with a time server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from testbed.scenarios.faults.fault import Fault, Stage


class Clock(Fault):
    """Moves the wall clock that a program's Python code reads; the monotonic clock goes on, as on a real machine."""

    reaches: ClassVar[Sequence[str]] = ("tier", "device")
    lasts: ClassVar[bool] = False

    kind: Literal["clock"]
    jump_s: float
    """Forward, or back where negative."""

    @property
    def told(self) -> str:
        return f"clock of {self.target} {self.jump_s:+g} s"

    def begin(self, stage: Stage) -> None:
        stage.jump(self.target, self.jump_s)
