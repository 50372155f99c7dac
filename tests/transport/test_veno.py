"""The congestion window against the rules of the paper, with times and windows as numbers."""

from __future__ import annotations

import pytest

pytest.importorskip("aioquic", reason="the extra quic is not installed")

from aioquic.quic.congestion.reno import RenoCongestionControl
from aioquic.quic.packet import QuicPacketType
from aioquic.quic.packet_builder import QuicSentPacket
from aioquic.tls import Epoch

from transport.veno import VenoCongestionControl

PACKET = 1200


def packet(number: int, sent_s: float) -> QuicSentPacket:
    return QuicSentPacket(
        epoch=Epoch.ONE_RTT,
        in_flight=True,
        is_ack_eliciting=True,
        is_crypto_packet=False,
        packet_number=number,
        packet_type=QuicPacketType.ONE_RTT,
        sent_time=sent_s,
        sent_bytes=PACKET,
    )


def after_a_loss(window: RenoCongestionControl, trips_s: list[float], packets: int = 10) -> float:
    """The share of a window of so many packets that is left when one is lost after round trips that took so long."""
    window.congestion_window = packets * PACKET
    for place, trip_s in enumerate(trips_s):
        window.on_rtt_measurement(now=float(place), rtt=trip_s)
    lost = packet(1, 100.0)
    window.on_packet_sent(packet=lost)
    window.on_packets_lost(now=100.1, packets=[lost])
    assert window.ssthresh == window.congestion_window
    return window.congestion_window / (packets * PACKET)


def veno() -> VenoCongestionControl:
    return VenoCongestionControl(max_datagram_size=PACKET)


def test_a_loss_without_a_queue_costs_a_fifth() -> None:
    assert after_a_loss(veno(), [0.08, 0.081, 0.08]) == 0.8


def test_a_loss_with_a_queue_costs_half_as_with_reno() -> None:
    trips_s = [0.08, 0.12, 0.16]
    assert after_a_loss(veno(), trips_s) == 0.5
    assert after_a_loss(RenoCongestionControl(max_datagram_size=PACKET), trips_s) == 0.5


def test_three_packets_in_queues_are_the_border() -> None:
    base_s = 0.1
    assert after_a_loss(veno(), [base_s, base_s / (1 - 2.9 / 10)]) == 0.8
    assert after_a_loss(veno(), [base_s, base_s / (1 - 3.1 / 10)]) == 0.5


@pytest.mark.parametrize("packets", [2, 3, 4])
def test_losses_without_a_queue_never_take_the_last_four_packets(packets: int) -> None:
    assert after_a_loss(veno(), [0.08], packets=packets) == 1.0


def test_losses_with_a_queue_take_all_but_two_as_with_reno() -> None:
    assert after_a_loss(veno(), [0.01, 1.0], packets=4) == 0.5


def test_a_second_loss_of_the_same_flight_costs_nothing_more() -> None:
    window = veno()
    after_a_loss(window, [0.08])
    left, late = window.congestion_window, packet(2, 100.0)
    window.on_packet_sent(packet=late)
    window.on_packets_lost(now=100.2, packets=[late])
    assert window.congestion_window == left
