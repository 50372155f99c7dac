"""A network that is cut between two of the parts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from testbed.link.conditions import Stall
from testbed.scenarios.faults.fault import Fault, Occurrence

BACKHAUL = "backhaul"
"""Name of the link between edge and cloud."""


class Partition(Fault):
    """Nothing passes between a link's devices and a tier, in both directions or in one; connections stay open.

    What was sent meanwhile arrives when it ends, as TCP's repeats would. A link named "backhaul" is the one between
    edge and cloud.
    """

    kind: Literal["partition"]
    link: str
    direction: Literal["both", "up", "down"] = "both"

    @property
    def told(self) -> str:
        way = "" if self.direction == "both" else f" ({self.direction} only)"
        return f"partition {self.link} from {self.target}{way}"

    def stalls(self, occurrence: Occurrence) -> Iterable[tuple[str, Stall]]:
        yield (
            self.link,
            Stall(
                kind="stall",
                direction=self.direction,
                forward=self.target,
                from_s=occurrence.begins_s,
                to_s=occurrence.ends_s,
            ),
        )
