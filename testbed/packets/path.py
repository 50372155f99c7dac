"""One direction of a link: conditions one behind the other, and the packets that are on their way."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterable, Sequence

from testbed.packets.act import Act, Holding
from testbed.packets.conditions import Condition
from testbed.packets.packet import Packet


class PacketPath:
    """Deterministic: the same packets at the same times and the same seed give the same packets at the same times.

    Args:
        conditions: in the order in which packets meet them.
        seed: each condition draws from a generator of its own, so that one more changes nothing for the others.
    """

    def __init__(self, conditions: Sequence[Condition], seed: int | str = 0) -> None:
        self._acts: list[Act] = [
            condition.begin(random.Random(f"{seed}/{place}")) for place, condition in enumerate(conditions)
        ]
        self._holding = [(place, act) for place, act in enumerate(self._acts) if isinstance(act, Holding)]
        self._on_the_way: list[tuple[float, int, bytes]] = []
        self._number = 0

    def enter(self, packet: Packet) -> None:
        """A packet comes; not before those that came earlier."""
        self._release(packet.at_s)
        self._pass(0, (packet,))

    @property
    def next_s(self) -> float:
        """When a packet arrives, or is decided on, next; infinite if none is on its way."""
        arrives_s = self._on_the_way[0][0] if self._on_the_way else math.inf
        return min([arrives_s, *(act.next_s for _, act in self._holding)])

    def arrived(self, now_s: float) -> list[Packet]:
        """The packets that have arrived by now, in the order of their arrival; each is told once."""
        self._release(now_s)
        found = []
        while self._on_the_way and self._on_the_way[0][0] <= now_s:
            at_s, _, data = heapq.heappop(self._on_the_way)
            found.append(Packet(data, at_s))
        return found

    def _release(self, now_s: float) -> None:
        for place, act in self._holding:
            self._pass(place + 1, act.released(now_s))

    def _pass(self, place: int, packets: Iterable[Packet]) -> None:
        """Take packets through the conditions from this place on."""
        for act in self._acts[place:]:
            packets = [after for before in packets for after in act(before)]
        for data, at_s in packets:
            if at_s < math.inf:
                self._number += 1
                heapq.heappush(self._on_the_way, (at_s, self._number, data))
