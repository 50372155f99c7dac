"""A file that rots under a running program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from testbed.scenarios.faults.fault import Fault, Stage


class CorruptFile(Fault):
    """Turns one bit in the middle of the largest file of a program's own copy of the bundle, and back after `for_s`.

    The program goes on: what it has read it has checked. One that starts meanwhile has to refuse (see "bad-bundle").
    """

    reaches: ClassVar[Sequence[str]] = ("tier", "device")

    kind: Literal["corrupt-file"]

    def begin(self, stage: Stage) -> None:
        stage.turn_bit(self.target)

    def end(self, stage: Stage) -> None:
        stage.turn_bit(self.target)
