"""Congestion control for links that lose packets without being full: TCP Veno (Fu and Liew, IEEE JSAC 21(2), 2003)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from aioquic.quic.congestion.base import register_congestion_control
from aioquic.quic.congestion.reno import RenoCongestionControl
from aioquic.quic.packet_builder import QuicSentPacket

NAME: Final = "veno"
_FULL_PACKETS: Final = 3.0
"""Packets of ours in the queues on the way from which on a loss is taken for the link being full."""
_RANDOM_LOSS_FACTOR: Final = 0.8
_LEAST_PACKETS: Final = 4
"""What losses without a queue leave of the window: as much as one frame, and less than a new connection may send."""


class VenoCongestionControl(RenoCongestionControl):
    """Reno that gives way by a fifth, not by half, to a loss that comes while there is no queue.

    How much of the window lies in queues is told by how much longer round trips are than the shortest, as in Vegas.
    """

    def __init__(self, *, max_datagram_size: int) -> None:
        super().__init__(max_datagram_size=max_datagram_size)
        self._shortest_s = float("inf")
        self._latest_s = 0.0

    def on_rtt_measurement(self, *, now: float, rtt: float) -> None:
        """A round trip, in seconds."""
        self._shortest_s = min(self._shortest_s, rtt)
        self._latest_s = rtt
        super().on_rtt_measurement(now=now, rtt=rtt)

    def on_packets_lost(self, *, now: float, packets: Iterable[QuicSentPacket]) -> None:
        """Packets were found lost."""
        before, is_random = self.congestion_window, self._queued_packets() < _FULL_PACKETS
        super().on_packets_lost(now=now, packets=packets)
        if is_random and self.congestion_window < before:
            least = min(before, _LEAST_PACKETS * self._max_datagram_size)
            self.congestion_window = max(int(before * _RANDOM_LOSS_FACTOR), least)
            self.ssthresh = self.congestion_window

    def _queued_packets(self) -> float:
        if not self._latest_s:
            return 0.0
        packets = self.congestion_window / self._max_datagram_size
        return packets * (self._latest_s - self._shortest_s) / self._latest_s


def register() -> None:
    """Let aioquic find it by its name; again is harmless."""
    register_congestion_control(NAME, VenoCongestionControl)
