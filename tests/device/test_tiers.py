"""What a device makes of a tier's echoes, without a network: time and messages are given by hand."""

from __future__ import annotations

import pytest

from adaptation.link import UplinkEstimator
from adaptation.plan import Route
from adaptation.probing import ProbeSettings
from device.tiers import TierLink
from protocol.messages import Hello, Probe
from transport.events import Probed
from transport.settings import Dial


class Echoes:
    """A ready stream that remembers the probes it was given."""

    ready = True

    def __init__(self) -> None:
        self.sizes: dict[int, int] = {}

    def probe(self, number: int, size: int) -> int:
        self.sizes[number] = size
        return size


def test_the_first_echo_of_a_train_shows_the_round_trip_and_the_last_one_the_rate(monkeypatch):
    """40 ms there and back, and seven times as much behind the first at 56 kbit/s: 70 ms."""
    now_s = [10.0]
    estimator = UplinkEstimator()
    link = TierLink(
        Route.EDGE, Dial(target="127.0.0.1:1"), Hello("device"), estimator, lambda: now_s[0], lambda *end: None
    )
    link.client, link.pace = Echoes(), ProbeSettings(train=8)
    link.probe(estimator.estimate(now_s[0]))
    (first, first_bytes), (last, last_bytes) = link.client.sizes.items()
    assert last_bytes == 7 * first_bytes
    now_s[0] = 10.04
    link._react(Probed(Probe(id=first)))
    now_s[0] = 10.11
    link._react(Probed(Probe(id=last)))
    seen = estimator.estimate(now_s[0])
    assert seen.base_rtt_s[Route.EDGE] == pytest.approx(0.04, abs=2e-3)
    assert 2.8e4 < seen.mean_bps() < 1.2e5
