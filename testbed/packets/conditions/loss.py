"""Packets that are lost, each by itself."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Literal

from testbed.packets.act import Act
from testbed.packets.conditions.act import Condition, Share
from testbed.packets.packet import Packet


class Loss(Condition):
    """Loses each packet with the same probability."""

    kind: Literal["loss"]
    share: Share

    def begin(self, chance: random.Random) -> Act:
        def act(packet: Packet) -> Iterable[Packet]:
            return () if chance.random() < self.share else (packet,)

        return act
