"""The uplink estimate: a Bayes filter over the rate, fed by what was sent and what came back, or has not yet.

The uplink is a byte queue, first in, first out, shared by all tiers reached over it. If its rate is r, a frame's last
byte leaves at `max(when the bytes before it have left, sent) + bytes * 8 / r`; the answer comes a base round trip and
the tier's own time later. What an acknowledgement shows beyond that is heavy-tailed noise, or a stall that ended
meanwhile. A frame without an answer is evidence too: P(not yet | r). That evidence is kept apart from what
acknowledgements have settled and worked out afresh at each estimate, so silence is never counted twice, and vanishes
without a trace when its frame is answered after all.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from adaptation.arrays import FloatArray
from adaptation.downlink import TELLING_BYTES, VAGUE, Downlink
from adaptation.one_way import DownDelay
from adaptation.plan import Route
from adaptation.rates import RateChain, RateSettings
from adaptation.snapshot import DEFAULT_BASE_RTT_S, LinkEstimate

MAX_TRACKED = 64
"""Unanswered frames kept one by one; beyond that the older ones become bytes of a younger one."""


@dataclass(frozen=True, slots=True)
class NoiseSettings:
    """What the model leaves unexplained.

    Attributes:
        scale_s: least scale of the noise.
        most_scale_s: its greatest: a belief that is wrong leaves much unexplained, and must not come to rest in that.
        stall_share: share of acknowledgements whose lateness says nothing about the rate (the link had stalled).
        stall_density: their density, per second of lateness.
        base_ageing_s: time constant with which the base round trip follows longer ones.
        answer_within_s: how late an overtaken frame has to be before its tier counts as not answering.
        ahead_s: how far an estimate looks ahead while frames are on their way, for changes before they arrive.
    """

    scale_s: float = 0.002
    most_scale_s: float = 0.02
    stall_share: float = 0.02
    stall_density: float = 1.0
    base_ageing_s: float = 60.0
    answer_within_s: float = 0.4
    ahead_s: float = 0.05


@dataclass(slots=True)
class _Flight:
    """A frame or probe without an answer. `queued_bytes` of its `message_bytes` are, or were, in the queue."""

    key: Hashable
    route: Route
    message_bytes: float
    sent_s: float
    queued_bytes: float
    abandoned_s: float | None = None


@dataclass(slots=True)
class _Way:
    """What is known of one route besides the uplink's rate."""

    base_rtt_s: float = DEFAULT_BASE_RTT_S
    measured: bool = False
    noise_s: float = 0.005
    """What rate and round trip leave unexplained of when messages arrive ..."""
    jitter_s: float = 0.005
    """... and of when their answers do: the same where a tier does not say when messages arrive."""
    down: DownDelay = field(default_factory=DownDelay)
    lied: bool = False
    """Whether its tier has claimed what cannot be: then nothing of what its clock shows is believed."""
    tier_s: float = 0.005
    answered_s: float = 0.0
    overtaken_since_s: float | None = None

    def round_trip_s(self, now_s: float) -> float:
        """Without a queue on the way up, but with what answers wait for on their way down of late."""
        return self.base_rtt_s + self.down.expected_s(now_s)

    def learn(self, network_s: float, tier_s: float, now_s: float, ageing_s: float) -> None:
        """Take in one answered frame's time outside the tier and inside it."""
        if not self.measured or network_s <= self.base_rtt_s:
            self.base_rtt_s = max(network_s, 0.0)
            self.measured = True
        else:
            share = 1.0 - math.exp(-max(now_s - self.answered_s, 0.0) / ageing_s)
            self.base_rtt_s += share * min(network_s - self.base_rtt_s, 0.1 * self.base_rtt_s)
        self.tier_s += 0.2 * (tier_s - self.tier_s)
        self.answered_s = now_s
        self.overtaken_since_s = None


class UplinkEstimator:
    """Learns the uplink of one device. Keys of frames and probes are the caller's, unique while unanswered.

    Times are seconds on the caller's clock and must not run backwards. Calls about unknown keys are ignored: an answer
    may arrive after its session was lost. Not thread-safe.
    """

    def __init__(self, rates: RateSettings | None = None, noise: NoiseSettings | None = None) -> None:
        self._chain = RateChain(rates or RateSettings())
        self._noise = noise or NoiseSettings()
        self._seconds_per_byte: FloatArray = 8.0 / self._chain.rates_bps
        self._ahead = self._chain.stride(self._noise.ahead_s)
        self._settled: FloatArray = np.array(self._chain.stationary)
        self._settled_s: float | None = None
        self._free_s: FloatArray = np.full_like(self._settled, -np.inf)
        self._flights: list[_Flight] = []
        self._overtaken: dict[Hashable, _Flight] = {}
        self._ways: dict[Route, _Way] = {}
        self._downlink = Downlink()

    def sent(self, frame_id: Hashable, message_bytes: float, now_s: float, tier: Route) -> None:
        """A frame or probe was handed to the transport.

        Args:
            frame_id: any key, unique among the unanswered; probes need one too.
            message_bytes: what it costs on the uplink, headers included.
            now_s: the moment it was handed over.
            tier: the route it takes.
        """
        if self._settled_s is None:
            self._settled_s = now_s
        self._ways.setdefault(tier, _Way())
        self._flights.append(_Flight(frame_id, tier, message_bytes, now_s, message_bytes))
        if len(self._flights) > MAX_TRACKED:
            self._merge()

    def acknowledged(
        self, frame_id: Hashable, now_s: float, tier_s: float, answer_bytes: float = 0.0, arrived_us: int = 0
    ) -> None:
        """An answer came: a result, a refusal or a probe's echo, also for an abandoned frame.

        Args:
            frame_id: the key given to `sent`.
            now_s: when it arrived.
            tier_s: seconds it spent inside the tier (waiting and computing), from the answer's timings; counted as no
                more than the whole time since it was sent.
            answer_bytes: how long the answer was; long ones take time on their way down.
            arrived_us: when the frame arrived, by the tier's own clock (`adaptation.one_way`); 0 if it does not say.
        """
        late = self._overtaken.pop(frame_id, None)
        if late is not None:
            way = self._ways[late.route]
            way.learn(now_s - late.sent_s - tier_s, tier_s, now_s, self._noise.base_ageing_s)
            return
        place = next((i for i, flight in enumerate(self._flights) if flight.key == frame_id), None)
        if place is None:
            return
        flight = self._flights[place]
        way = self._ways[flight.route]
        told_s, tier_s = tier_s, min(max(tier_s, 0.0), now_s - flight.sent_s)  # whatever a peer says
        way.lied |= told_s != tier_s
        departures = self._departures(place)
        network_s = now_s - flight.sent_s - tier_s
        waited_s = surprise_s = 0.0
        if arrived_us and not way.lied:
            expected_s = way.down.expected_s(now_s)
            unexplained_s = now_s - tier_s - way.base_rtt_s - float(departures[int(self._settled.argmax())])
            waited_s = way.down.came(now_s, tier_s, arrived_us, max(unexplained_s, 0.0))
            surprise_s = abs(waited_s - expected_s)
        down_s = self._down_s(way, departures, now_s, tier_s, answer_bytes) if answer_bytes >= TELLING_BYTES else 0.0
        scale_s = max(self._noise.scale_s, way.noise_s, VAGUE * down_s)
        way.learn(network_s - down_s, tier_s, now_s, self._noise.base_ageing_s)
        down_s = max(down_s, waited_s)
        departed_s = now_s - tier_s - down_s - way.base_rtt_s
        self._weigh(way, departed_s - departures, now_s, scale_s, surprise_s)
        self._free_s = np.minimum(np.maximum(departures, departed_s - 2.0 * scale_s), departed_s)
        for passed in self._flights[:place]:
            self._overtake(passed)
        del self._flights[: place + 1]

    def timed(self, tier: Route, network_s: float) -> None:
        """A message too short to say anything about the rate came back after `network_s`: the round trip is no longer.

        For the first message of a probe of several, which is not told of by `sent`.
        """
        way = self._ways.setdefault(tier, _Way())
        if not way.measured or network_s < way.base_rtt_s:
            way.base_rtt_s, way.measured = max(network_s, 0.0), True

    def abandoned(self, frame_id: Hashable, now_s: float) -> None:
        """No answer is awaited any more (expired or cancelled); its bytes may still be queued ahead of others.

        Its silence up to now stays evidence until a later frame is answered. An answer that comes after all is welcome.
        """
        self._overtaken.pop(frame_id, None)
        for flight in self._flights:
            if flight.key == frame_id and flight.abandoned_s is None:
                flight.abandoned_s = now_s

    def withdrawn(self, frame_id: Hashable) -> None:
        """It never left the device, nor will: neither its bytes nor its silence count."""
        self._flights = [flight for flight in self._flights if flight.key != frame_id]

    def cancelled(self, frame_id: Hashable, now_s: float, sent_bytes: float) -> None:
        """Its unsent bytes were taken back: `sent_bytes` left the device, no answer will come.

        That the whole of it had no answer until now stays evidence until a later frame is answered.
        """
        self.abandoned(frame_id, now_s)
        for flight in self._flights:
            if flight.key == frame_id:
                flight.queued_bytes = sent_bytes

    def shortened(self, frame_id: Hashable, message_bytes: float) -> None:
        """The end of its bytes was taken back before it left: an answer to so many may still come."""
        for flight in self._flights:
            if flight.key == frame_id:
                flight.message_bytes = flight.queued_bytes = message_bytes

    def disconnected(self, tier: Route, now_s: float) -> None:
        """The session that carried this route ended: its unanswered frames say nothing about the link any more."""
        self._flights = [flight for flight in self._flights if flight.route is not tier]
        self._overtaken = {key: flight for key, flight in self._overtaken.items() if flight.route is not tier}
        if tier in self._ways:
            self._ways[tier].overtaken_since_s = None
            self._ways[tier].down, self._ways[tier].lied = DownDelay(), False  # the next session may have another clock

    def estimate(self, now_s: float) -> LinkEstimate:
        """The belief at `now_s`, silence included. Changes nothing."""
        elapsed_s = 0.0 if self._settled_s is None else now_s - self._settled_s
        weights = self._chain.advance(self._settled, elapsed_s)
        free_s = self._free_s
        silent_s = backlog_bytes = 0.0
        leaves_s = None
        if self._flights:
            starts_s, service_s, drained_s = self._queue(self._flights)
            weights = weights * self._not_yet(np.maximum(starts_s, free_s) + service_s, now_s)
            weights = self._ahead @ weights
            np.maximum(weights, 1e-15, out=weights)
            weights /= np.add.reduce(weights)
            stuck_s = self._stuck_until(now_s)
            leaves_s = np.maximum(starts_s, stuck_s) + service_s
            free_s = np.maximum(starts_s[-1], stuck_s) + drained_s
            still = leaves_s[:, int(weights.argmax())] > now_s
            leaves_s.flags.writeable = False
            backlog_bytes = sum(one.queued_bytes for one, queued in zip(self._flights, still, strict=True) if queued)
            silent_s = next((now_s - flight.sent_s for flight in self._flights if flight.abandoned_s is None), 0.0)
        free_s.flags.writeable = weights.flags.writeable = False
        return LinkEstimate(
            rates_bps=self._chain.rates_bps,
            weights=weights,
            free_s=free_s,
            backlog_bytes=backlog_bytes,
            base_rtt_s=MappingProxyType({route: way.round_trip_s(now_s) for route, way in self._ways.items()}),
            jitter_s=MappingProxyType({route: self._scale_s(way) for route, way in self._ways.items()}),
            silent_s=silent_s,
            unanswering=self._unanswering(now_s),
            flights=tuple(flight.key for flight in self._flights),
            leaves_s=leaves_s,
            downlink_bps=self._downlink.rate_bps(now_s),
        )

    def _merge(self) -> None:
        """Forget one flight but not its bytes; never the oldest awaited one, whose age is the strongest evidence."""
        oldest = next((i for i, flight in enumerate(self._flights[:-2]) if flight.abandoned_s is None), 0)
        merged = self._flights.pop(oldest + 1)
        self._flights[oldest + 1].message_bytes += merged.queued_bytes
        self._flights[oldest + 1].queued_bytes += merged.queued_bytes

    def _queue(self, flights: list[_Flight]) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The queue as arrays [flights, rates]: flight j's last byte leaves at `max(free, starts[j]) + service[j]` if
        the queue before all of them empties at `free`; and [rates], the service of all that is still queued."""
        if len(flights) == 1:
            (only,) = flights
            alone_s: FloatArray = only.message_bytes * self._seconds_per_byte
            return np.full((1, 1), only.sent_s), alone_s[None, :], only.queued_bytes * self._seconds_per_byte
        queued = np.array([flight.queued_bytes for flight in flights])
        whole = np.array([flight.message_bytes for flight in flights])
        until = queued.cumsum()
        before = until - queued
        sent_s = np.array([flight.sent_s for flight in flights])
        starts_s: FloatArray = sent_s[:, None] - np.multiply.outer(before, self._seconds_per_byte)
        np.maximum.accumulate(starts_s, axis=0, out=starts_s)
        service_s: FloatArray = np.multiply.outer(before + whole, self._seconds_per_byte)
        return starts_s, service_s, until[-1] * self._seconds_per_byte

    def _departures(self, place: int) -> FloatArray:
        """[rates]: when the last byte of one flight leaves."""
        if place == 0:
            first = self._flights[0]
            alone: FloatArray = np.maximum(self._free_s, first.sent_s) + first.message_bytes * self._seconds_per_byte
            return alone
        starts_s, service_s, _ = self._queue(self._flights[: place + 1])
        departures: FloatArray = np.maximum(starts_s[-1], self._free_s) + service_s[-1]
        return departures

    def _down_s(self, way: _Way, departures: FloatArray, now_s: float, tier_s: float, answer_bytes: float) -> float:
        """What a long answer's way down took beyond the round trip."""
        if not way.measured:
            return 0.0
        elapsed_s = 0.0 if self._settled_s is None else now_s - self._settled_s
        weights = self._chain.advance(self._settled, elapsed_s)
        return self._downlink.came(answer_bytes, now_s, departures + (way.base_rtt_s + tier_s), weights)

    def _stuck_until(self, now_s: float) -> FloatArray:
        """A lower bound on when the queue before the oldest flight empties: had that flight left a base round trip
        ago, its answer would be here. So whatever the rate is now, the flights behind it are still queued."""
        if all(flight.abandoned_s is not None for flight in self._flights):
            return self._free_s
        before_bytes = 0.0
        for flight in self._flights:
            before_bytes += flight.queued_bytes
            if flight.queued_bytes == flight.message_bytes:
                break
        way = self._ways[flight.route]
        stuck: FloatArray = now_s - way.base_rtt_s - way.tier_s - before_bytes * self._seconds_per_byte
        return np.maximum(self._free_s, stuck)

    def _not_yet(self, departures: FloatArray, now_s: float) -> FloatArray:
        """P(no answer yet | rate). In a queue one late frame explains those behind it, so only the strongest counts."""
        expected_s, scales_s = [], []
        for flight in self._flights:
            way = self._ways[flight.route]
            scale_s = self._scale_s(way)
            waited_until_s = now_s if flight.abandoned_s is None else flight.abandoned_s
            scales_s.append([scale_s])
            expected_s.append([waited_until_s - way.base_rtt_s - way.tier_s - 2.0 * scale_s])
        lateness = (np.array(expected_s) - departures) / scales_s
        least: FloatArray = _survival(np.maximum.reduce(lateness, axis=0))
        return least

    def _weigh(self, way: _Way, residual_s: FloatArray, now_s: float, scale_s: float, surprise_s: float) -> None:
        """Settle one acknowledgement: its message arrived `residual_s` later than each rate predicts, and its answer
        waited `surprise_s` more or less than was expected on its way down."""
        noise = self._noise
        excess = np.abs(residual_s - 0.5 * scale_s)
        excess -= 1.5 * scale_s
        np.maximum(excess, 0.0, out=excess)
        excess /= scale_s
        spread = excess * excess
        spread += 2.0
        likelihood = ((1.0 - noise.stall_share) / scale_s) / (spread * np.sqrt(spread))
        likelihood += noise.stall_share * noise.stall_density * (residual_s > 0.0)
        likelihood[0] = 0.0
        elapsed_s = 0.0 if self._settled_s is None else now_s - self._settled_s
        weights = self._chain.advance(self._settled, elapsed_s) * likelihood
        weights /= np.add.reduce(weights)
        self._settled = weights
        self._settled_s = now_s
        unexplained_s = min(abs(float(residual_s[int(self._settled.argmax())])), 3.0 * scale_s)
        way.noise_s = min(way.noise_s + 0.1 * (unexplained_s - way.noise_s), noise.most_scale_s)
        way.jitter_s = min(way.jitter_s + 0.1 * (unexplained_s + surprise_s - way.jitter_s), noise.most_scale_s)

    def _scale_s(self, way: _Way) -> float:
        return max(self._noise.scale_s, way.jitter_s)

    def _overtake(self, flight: _Flight) -> None:
        if flight.abandoned_s is not None:
            return
        way = self._ways[flight.route]
        if way.overtaken_since_s is None:
            way.overtaken_since_s = flight.sent_s
        self._overtaken[flight.key] = flight
        if len(self._overtaken) > MAX_TRACKED:
            del self._overtaken[next(iter(self._overtaken))]

    def _unanswering(self, now_s: float) -> frozenset[Route]:
        limit_s = now_s - self._noise.answer_within_s
        return frozenset(
            route
            for route, way in self._ways.items()
            if way.overtaken_since_s is not None and way.overtaken_since_s + way.base_rtt_s + way.tier_s < limit_s
        )


def _survival(x: FloatArray) -> NDArray[np.float64]:
    """P(X > x) of Student's t with two degrees of freedom, never quite 0."""
    tail: FloatArray = x * x
    tail += 2.0
    np.sqrt(tail, out=tail)
    np.divide(x, tail, out=tail)
    tail *= -0.5
    tail += 0.5
    return np.maximum(tail, 1e-12, out=tail)
