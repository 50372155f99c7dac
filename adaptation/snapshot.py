"""What is known when a frame is decided. All frozen; all times in seconds on the caller's one clock."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np

from adaptation.arrays import FloatArray
from adaptation.errors import InvalidValue
from adaptation.goal import Allowance
from adaptation.plan import Choice, Option, Plan, Route

DEFAULT_BASE_RTT_S = 0.05
"""The round trip of a route nobody has measured yet."""


@dataclass(frozen=True, slots=True)
class TierState:
    """What is known about a tier besides the link to it.

    Attributes:
        reachable: a welcomed session exists now (for `EDGE_TO_CLOUD`: and the edge reports its cloud as reachable).
        base_rtt_s: round trip without queueing when known from elsewhere; None takes the link estimate's.
        wait_s: how long a frame that arrives now would wait in the tier, from its last load hint.
    """

    reachable: bool
    base_rtt_s: float | None = None
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class LinkEstimate:
    """What is believed about the uplink at one moment. Arrays are read-only and share one length.

    Attributes:
        rates_bps: float64, ascending rates; the first is the dead link, as one bit per second.
        weights: float64, probability of each rate; sums to 1.
        free_s: float64, when the last byte now queued will have left, if the rate is the one at this place.
        backlog_bytes: bytes believed still to be queued, at the most likely rate.
        base_rtt_s: per route, round trip without the tier's own time and without queueing, but for what answers are
            known to wait of late on their way down.
        jitter_s: per route, scale of what the model does not explain (heavy-tailed).
        silent_s: age of the oldest unanswered frame or probe that still says something about the link; 0 if none.
        unanswering: routes whose frames were overtaken by later answers of other tiers and have been unanswered for
            long: the link works, that tier does not.
        flights: keys of the unanswered frames and probes, in the order of the queue.
        leaves_s: float64, [flights, rates], when the last byte of each will have left; None without flights.
        downlink_bps: of the way down, for answers long enough to need time on it; infinite while none has shown any.
    """

    rates_bps: FloatArray
    weights: FloatArray
    free_s: FloatArray
    backlog_bytes: float
    base_rtt_s: Mapping[Route, float]
    jitter_s: Mapping[Route, float]
    silent_s: float = 0.0
    unanswering: frozenset[Route] = frozenset()
    flights: tuple[Hashable, ...] = ()
    leaves_s: FloatArray | None = None
    downlink_bps: float = float("inf")

    def beyond_s(self, option: Option | None) -> float:
        """Seconds in the tier and for a long answer's way down: all that follows the uplink but the round trip."""
        return 0.0 if option is None else option.tier_s + 8.0 * option.result_bytes / self.downlink_bps

    @property
    def alive(self) -> float:
        """Probability that the uplink carries anything at all."""
        return float(1.0 - self.weights[0])

    def mean_bps(self) -> float:
        """Geometric mean of the rate given that the link is alive, for display."""
        live = self.weights[1:]
        total = float(live.sum())
        if total <= 0.0:
            return float(self.rates_bps[0])
        return float(np.exp(float(live @ np.log(self.rates_bps[1:])) / total))


@dataclass(frozen=True, slots=True)
class Trial:
    """What may be tried with a frame (see `adaptation.trying`).

    Attributes:
        credit: worth that may be lost by it.
        stale: parts that have not run for long: (cut, whether the frame leaves the device there).
    """

    credit: float
    stale: frozenset[tuple[int, bool]]


@dataclass(frozen=True, slots=True)
class InFlight:
    """A frame that was sent and has no answer yet, while the device still holds its features.

    Attributes:
        key: as given to the estimator.
        choice: how it was sent.
        captured_s, deadline_s: absolute.
        head_s: device seconds spent from the input to `choice.cut`.
        awaited: whether an answer may still come; not after its bytes were taken back.
        importance: see `Snapshot`.
    """

    key: Hashable
    choice: Choice
    captured_s: float
    deadline_s: float
    head_s: float
    awaited: bool = True
    importance: float = 1.0


@dataclass(frozen=True, slots=True)
class Past:
    """A frame that has ended, as far as later decisions may learn from it. One that is answered after it was given up
    is there twice: first without an answer, then with the late one.

    Attributes:
        choice: what was chosen for it.
        message_bytes: sent for it.
        sent_s: when it was handed to the transport; when its computing ended for a device answer.
        ended_s: when its answer came, or when it was given up.
        in_time: whether an answer came before the deadline.
        answered: whether an answer came at all.
        tier_s: seconds inside the tier.
        confidence: the answer's, 0 to 1; None where unknown.
        device_s: seconds that the device took for the choice; 0 where unknown, or where it did something else too.
        exit_confidence: of the exit that was asked first, whether its answer was final or not; None if none was asked.
    """

    choice: Choice
    message_bytes: float
    sent_s: float
    ended_s: float
    in_time: bool
    answered: bool
    tier_s: float = 0.0
    confidence: float | None = None
    device_s: float = 0.0
    exit_confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a decision about one frame depends on.

    Attributes:
        now_s: the moment of the decision.
        deadline_s: absolute; the answer is worth nothing after it.
        device_free_s: absolute moment from which the device can compute for this frame; in the past if it is idle.
        plan: what may be chosen.
        uplink: the belief at `now_s`; None if this device has no uplink at all.
        tiers: what is known of each route's tier; a missing route is unreachable. `Route.DEVICE` needs no entry.
        previous: the choice of the frame before, None at the start.
        changed_s: since when every decision has been `previous`; None if unknown.
        captured_s: when the frame was captured, for the deadline's length; None takes `now_s`.
        interval_s: seconds between frames as the source delivers them; None leaves the device's time unpriced.
        in_flight: frames that a hedge could still serve, the oldest first; empty where the caller does not hedge.
        recent: the last frames that ended, the oldest first, for policies that learn from them.
        importance: how many usual frames this one is worth; what it costs is weighed against that.
        allowance: what it may spend on the uplink; None leaves bytes unpriced.
        trial: what may be tried with it; None if nothing.
        spent_s: the device's seconds for this frame besides those of the plan's options: a head that is done, or an
            exit that is asked first.

    Raises:
        InvalidValue: `interval_s` is not above 0, or `importance` is below 0.
    """

    now_s: float
    deadline_s: float
    device_free_s: float
    plan: Plan
    uplink: LinkEstimate | None
    tiers: Mapping[Route, TierState]
    previous: Choice | None = None
    captured_s: float | None = None
    interval_s: float | None = None
    in_flight: tuple[InFlight, ...] = ()
    recent: tuple[Past, ...] = ()
    changed_s: float | None = None
    importance: float = 1.0
    allowance: Allowance | None = None
    trial: Trial | None = None
    spent_s: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.importance < float("inf"):
            raise InvalidValue(f"importance is {self.importance!r}; it has to be a finite number of at least 0")
        if self.interval_s is not None and not self.interval_s > 0.0:
            raise InvalidValue(
                f"interval_s is {self.interval_s!r}; it has to be above 0, or None if frames have no pace"
            )


@dataclass(frozen=True, slots=True)
class KeptFrame:
    """A frame that was sent and got no answer, and what the device still holds of it.

    Attributes:
        choice: how it was sent; its features at `choice.cut` and its payload are kept.
        message_bytes: bytes that sending it again would cost.
        head_s: device seconds spent from the input to `choice.cut`, encoder not counted; a local continuation saves
            them.
        failed: routes it was tried on besides `choice.route`.
    """

    choice: Choice
    message_bytes: float
    head_s: float
    failed: frozenset[Route] = frozenset()
