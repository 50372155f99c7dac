"""A disk without room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from testbed.disk import DiskState
from testbed.scenarios.faults.fault import Fault, Stage


class DiskFull(Fault):
    """Nothing more can be written to the disk with the devices' spools; each then has one. Histories are elsewhere."""

    reaches: ClassVar[Sequence[str]] = ("device",)

    kind: Literal["disk-full"]

    def begin(self, stage: Stage) -> None:
        stage.set_disk(self.target, DiskState(full=True))

    def end(self, stage: Stage) -> None:
        stage.set_disk(self.target, DiskState())
