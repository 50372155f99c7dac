"""Propagation."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Literal

from testbed.packets.act import Act
from testbed.packets.conditions.act import Condition, Seconds
from testbed.packets.packet import Packet


class Delay(Condition):
    """Every packet takes the same time, one way."""

    kind: Literal["delay"]
    delay_s: Seconds

    def begin(self, chance: random.Random) -> Act:
        def act(packet: Packet) -> Iterable[Packet]:
            return (Packet(packet.data, packet.at_s + self.delay_s),)

        return act
