"""A roll-out of a damaged bundle."""

from __future__ import annotations

from typing import Literal

from testbed.scenarios.faults.fault import Fault, Stage


class BadBundle(Fault):
    """Restarts a tier with a copy of its bundle in which one byte is wrong; after `for_s` the good one is back.

    The tier has to refuse to start, so that until then it is missing rather than wrong.
    """

    kind: Literal["bad-bundle"]

    def begin(self, stage: Stage) -> None:
        stage.kill(self.target)
        stage.start_with_bad_bundle(self.target)

    def end(self, stage: Stage) -> None:
        stage.start(self.target)
