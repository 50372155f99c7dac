"""A tier that dies as by `kill -9`, and perhaps comes back."""

from __future__ import annotations

from typing import Literal

from testbed.scenarios.faults.fault import Fault, Stage


class Kill(Fault):
    """Ends a tier at once; after `for_s` it is started again on the same port."""

    kind: Literal["kill"]

    def begin(self, stage: Stage) -> None:
        stage.kill(self.target)

    def end(self, stage: Stage) -> None:
        stage.start(self.target)
