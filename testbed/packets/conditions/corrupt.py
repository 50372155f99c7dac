"""Packets that are damaged."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Literal

from testbed.packets.act import Act
from testbed.packets.conditions.act import Condition, Share
from testbed.packets.packet import Packet


class Corrupt(Condition):
    """Turns one bit of some packets, behind the IPv4 header, so that they still arrive and a checksum must see it."""

    kind: Literal["corrupt"]
    share: Share

    def begin(self, chance: random.Random) -> Act:
        def act(packet: Packet) -> Iterable[Packet]:
            if chance.random() >= self.share:
                return (packet,)
            data = bytearray(packet.data)
            header_bytes = 4 * (data[0] & 15) if data else 0
            if header_bytes >= len(data):
                return (packet,)
            bit = chance.randrange(8 * header_bytes, 8 * len(data))
            data[bit >> 3] ^= 1 << (bit & 7)
            return (Packet(bytes(data), packet.at_s),)

        return act
