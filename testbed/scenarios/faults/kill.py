"""A tier, or a broker, that dies as by `kill -9`, and perhaps comes back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from testbed.scenarios.faults.fault import Fault, Stage


class Kill(Fault):
    """Ends it at once; after `for_s` it is started again on the same port."""

    reaches: ClassVar[Sequence[str]] = ("tier", "broker")

    kind: Literal["kill"]

    def begin(self, stage: Stage) -> None:
        stage.kill(self.target)

    def end(self, stage: Stage) -> None:
        stage.start(self.target)
