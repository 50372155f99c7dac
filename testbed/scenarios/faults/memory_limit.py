"""Memory that a program does not get."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from testbed.scenarios.faults.fault import Fault, Stage


class MemoryLimit(Fault):
    """A tier gets no more memory than it has, but for `spare_mb`: it may refuse frames, or end as programs then do.

    The limit is on what is mapped (RLIMIT_AS). Where the tier has ended, it is started again after `for_s`.
    """

    kind: Literal["memory-limit"]
    spare_mb: Annotated[float, Field(ge=0, le=65536)] = 0.0

    def begin(self, stage: Stage) -> None:
        stage.starve(self.target, round(self.spare_mb * (1 << 20)))

    def end(self, stage: Stage) -> None:
        stage.feed(self.target)
