"""Packets that are overtaken."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from testbed.packets.act import Act
from testbed.packets.conditions.act import Condition, Share
from testbed.packets.packet import Packet


class Reorder(Condition):
    """Holds some packets back for a time in which those behind them pass."""

    disorders: ClassVar[bool] = True

    kind: Literal["reorder"]
    share: Share
    by_s: Annotated[float, Field(gt=0, le=10)]

    def begin(self, chance: random.Random) -> Act:
        def act(packet: Packet) -> Iterable[Packet]:
            held_s = self.by_s if chance.random() < self.share else 0.0
            return (Packet(packet.data, packet.at_s + held_s),)

        return act
