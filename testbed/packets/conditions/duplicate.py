"""Packets that come twice."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Literal

from testbed.packets.act import Act
from testbed.packets.conditions.act import Condition, Share
from testbed.packets.packet import Packet


class Duplicate(Condition):
    """Doubles some packets; the copy follows at once."""

    kind: Literal["duplicate"]
    share: Share

    def begin(self, chance: random.Random) -> Act:
        def act(packet: Packet) -> Iterable[Packet]:
            return (packet, packet) if chance.random() < self.share else (packet,)

        return act
