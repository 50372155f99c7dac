"""A disk that takes its time, as a worn memory card does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from testbed.disk import DiskState
from testbed.scenarios.faults.fault import Fault, Stage


class SlowDisk(Fault):
    """Each write and each flush on the disk with the devices' spools takes `longer_s` longer; each then has one."""

    reaches: ClassVar[Sequence[str]] = ("device",)

    kind: Literal["slow-disk"]
    longer_s: Annotated[float, Field(gt=0, le=10)]

    def begin(self, stage: Stage) -> None:
        stage.set_disk(self.target, DiskState(longer_s=self.longer_s))

    def end(self, stage: Stage) -> None:
        stage.set_disk(self.target, DiskState())
