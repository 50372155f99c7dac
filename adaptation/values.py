"""The values that go into a decision and come out of it. All frozen; all times in seconds on the caller's one clock."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from adaptation.errors import InvalidValue

FloatArray = NDArray[np.float64]

DEFAULT_BASE_RTT_S = 0.05
"""The round trip of a route nobody has measured yet."""

CLOG_S = 2.0
"""The longest time for which a message is held to block a link: a link that slow is about to change, or is given up."""

PROBE_BYTES, ECHO_BYTES = 70, 20
"""What a message of a probe costs on the uplink, headers of the stream included; and one that only asks for an echo."""


class Route(StrEnum):
    """Who gives the answer, and by which way the frame gets there."""

    DEVICE = "device"
    EDGE = "edge"
    CLOUD = "cloud"
    """Straight to the cloud, over the device's own uplink."""
    EDGE_TO_CLOUD = "edge_to_cloud"
    """To the edge, which passes it (or its own features, see `Choice.handover`) on to the cloud."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What to do with one frame.

    For `Route.DEVICE`, `cut` is the cut of the exit that answers, or the number of segments for the whole model, and
    `level` is None. For the others the device runs the segments before `cut` and sends the features at rate `level`.
    `handover` is the (cut, level) at which the edge passes an `EDGE_TO_CLOUD` frame on; None passes it on as it came.
    """

    cut: int
    level: int | None
    route: Route
    handover: tuple[int, int] | None = None

    @property
    def remote(self) -> bool:
        """Whether the frame leaves the device."""
        return self.route is not Route.DEVICE


@dataclass(frozen=True, slots=True)
class Option:
    """One row of the plan: a choice and its measured figures.

    Attributes:
        device_s: seconds of the device: head, exit classifier and encoder; for a device answer all of it.
        payload_bytes: mean bytes of the payload, 0 for a device answer.
        overhead_bytes: what message and stream headers add to each payload on the uplink.
        result_bytes: bytes of the result on the way down.
        tier_s: seconds inside the tier without waiting there (for `EDGE_TO_CLOUD`, of both tiers).
        accuracy: share of right answers on the bundle's test set, 0 to 1.
        head_s: the part of `device_s` that leads to the cut, encoder and exit not counted; None takes all of it.
        joules: what the device spends on it, computing and sending; 0 where nobody has measured that.

    Raises:
        InvalidValue: a negative or non-finite figure, an accuracy outside 0 to 1, a remote choice without a level.
    """

    choice: Choice
    device_s: float
    payload_bytes: float
    result_bytes: float
    tier_s: float
    accuracy: float
    overhead_bytes: float = 0.0
    head_s: float | None = None
    joules: float = 0.0

    def __post_init__(self) -> None:
        for name in ("device_s", "payload_bytes", "result_bytes", "tier_s", "overhead_bytes", "accuracy", "joules"):
            value = getattr(self, name)
            if not 0.0 <= value < float("inf"):
                raise InvalidValue(f"{name} of {self.choice} is {value!r}; it has to be a finite number of at least 0")
        if self.accuracy > 1.0:
            raise InvalidValue(f"accuracy of {self.choice} is {self.accuracy!r}; it has to be a share from 0 to 1")
        if self.choice.remote and self.choice.level is None:
            raise InvalidValue(f"{self.choice} leaves the device but names no level; give the rate level to send it at")

    @property
    def message_bytes(self) -> float:
        """Bytes on the uplink: payload and overhead; 0 for a device answer."""
        return self.payload_bytes + self.overhead_bytes if self.choice.remote else 0.0

    @property
    def reached_s(self) -> float:
        """Device seconds after which the features at the cut are there."""
        return self.device_s if self.head_s is None else self.head_s

    def after_s(self, cut: int, head_s: float) -> float:
        """Device seconds of this device answer for a frame whose features at `cut` are kept: from there on, or from
        the input if its exit lies before the cut."""
        return max(self.device_s - head_s, 0.0) if self.choice.cut >= cut else self.device_s


@dataclass(frozen=True, slots=True)
class Columns:
    """The figures of a plan as read-only arrays, one entry per option in plan order."""

    device_s: FloatArray
    message_bytes: FloatArray
    tier_s: FloatArray
    accuracy: FloatArray
    joules: FloatArray
    result_bytes: FloatArray
    local: NDArray[np.intp]
    """Indices of the options the device answers itself."""
    own: tuple[tuple[int, float], ...]
    """The same, with the device's seconds: for so few, plain numbers are quicker than arrays."""
    routes: tuple[Route, ...]
    """The routes the plan uses."""
    route: NDArray[np.intp]
    """The place of the option's route in `routes`."""
    remote: int | None
    """The place in `routes` of the only one that leaves the device; None if there are several, or none."""
    continue_s: FloatArray
    """[options, local]: device seconds in which each local answer is had once the option has been computed ..."""
    after_s: FloatArray
    """[options, local]: ... and the option's own with them."""
    positions: Mapping[Choice, int]
    _kept: dict[str, tuple[tuple[object, ...], FloatArray]] = field(default_factory=dict)

    def service_s(self, rates_bps: FloatArray) -> FloatArray:
        """[options, rates]: seconds that the messages take on the uplink, and their frames in the tier."""
        return self.kept(
            ("service", rates_bps, None),
            lambda: np.multiply.outer(self.message_bytes, 8.0 / rates_bps) + self.tier_s[:, None],
        )

    def clog(self, rates_bps: FloatArray, interval_s: float) -> FloatArray:
        """[options, rates]: frame intervals beyond the first for which a message keeps a link of this rate to itself,
        at most `CLOG_S`, and none on the dead link, which nothing can clog."""
        return self.kept(("clog", rates_bps, interval_s), lambda: self._clog(rates_bps, interval_s))

    def _clog(self, rates_bps: FloatArray, interval_s: float) -> FloatArray:
        sending_s = np.multiply.outer(self.message_bytes, 8.0 / rates_bps)
        over_s: FloatArray = np.clip(sending_s - interval_s, 0.0, CLOG_S)
        over_s[:, 0] = 0.0
        return over_s / interval_s

    def kept(self, key: tuple[str, object, object], make: Callable[[], FloatArray]) -> FloatArray:
        """What `make` gives, kept until it is asked for by this name with other values than the last time."""
        name, *values = key
        found = self._kept.get(name)
        if found is not None and found[0][0] is values[0] and found[0][1] == values[1]:
            return found[1]
        made = make()
        self._kept[name] = (tuple(values), made)
        return made


@dataclass(frozen=True, slots=True)
class Plan:
    """The table a policy chooses from. Build it once per bundle and share it: it keeps its figures as arrays.

    Behaves as a sequence of `Option`: `len`, iteration, indexing.

    Raises:
        InvalidValue: no options, or two with the same choice.
    """

    options: tuple[Option, ...]
    columns: Columns = field(init=False, repr=False, compare=False)
    _rests: dict[int, Plan] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        if not self.options:
            raise InvalidValue("the plan has no options; give it at least one way to answer a frame")
        positions = {option.choice: index for index, option in enumerate(self.options)}
        if len(positions) != len(self.options):
            raise InvalidValue("the plan names one choice twice; keep one row per (cut, level, route, handover)")
        routes = tuple(dict.fromkeys(option.choice.route for option in self.options))
        leaving = [place for place, route in enumerate(routes) if route is not Route.DEVICE]
        locals_ = [option for option in self.options if not option.choice.remote]
        continue_s = read_only(
            [[own.after_s(option.choice.cut, option.reached_s) for own in locals_] for option in self.options]
        )
        columns = Columns(
            device_s=read_only([option.device_s for option in self.options]),
            message_bytes=read_only([option.message_bytes for option in self.options]),
            tier_s=read_only([option.tier_s for option in self.options]),
            accuracy=read_only([option.accuracy for option in self.options]),
            joules=read_only([option.joules for option in self.options]),
            result_bytes=read_only([option.result_bytes for option in self.options]),
            local=np.array([i for i, option in enumerate(self.options) if not option.choice.remote], dtype=np.intp),
            own=tuple((i, option.device_s) for i, option in enumerate(self.options) if not option.choice.remote),
            routes=routes,
            route=np.array([routes.index(option.choice.route) for option in self.options], dtype=np.intp),
            remote=leaving[0] if len(leaving) == 1 else None,
            continue_s=continue_s,
            after_s=read_only(continue_s + np.array([[option.device_s] for option in self.options])),
            positions=positions,
        )
        object.__setattr__(self, "columns", columns)

    def __len__(self) -> int:
        return len(self.options)

    def __iter__(self) -> Iterator[Option]:
        return iter(self.options)

    def __getitem__(self, index: int) -> Option:
        return self.options[index]

    def rest(self, cut: int) -> Plan:
        """What is left for a frame whose features at `cut` are there: every level and route of that cut, at the cost of
        its encoder, and the device answers from there on. Worked out once for each cut.

        Raises:
            InvalidValue: nothing is left.
        """
        if cut not in self._rests:
            here = [one for one in self.options if one.choice.cut == cut and one.choice.remote]
            head_s = max((one.reached_s for one in here), default=0.0)
            own = [one for one in self.options if one.choice.cut >= cut and not one.choice.remote]
            self._rests[cut] = Plan((
                *(replace(one, device_s=max(one.device_s - one.reached_s, 0.0), head_s=0.0) for one in here),
                *(replace(one, device_s=one.after_s(cut, head_s), head_s=None) for one in own),
            ))  # fmt: skip
        return self._rests[cut]

    def find(self, choice: Choice) -> Option | None:
        """The row of a choice, or None if the plan has none."""
        index = self.columns.positions.get(choice)
        return None if index is None else self.options[index]


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
        base_rtt_s: per route, round trip without queueing and without the tier's own time.
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
class Goal:
    """What a frame is worth: its answer if in time, less a little for latency and for keeping the next frames waiting.

    `importance * (1 - accuracy_weight * (1 - accuracy)) * P(in time)
    - latency_weight * E[min(latency, budget)] / budget
    - device_weight * max(0, device_s / interval_s - 1) - link_weight * E[max(0, service_s / interval_s - 1)]
    - energy_weight * joules - the allowance's price * bytes`

    The weights make the goal: accuracy under a deadline (the default), deadline hits (`accuracy_weight` 0), latency
    (`latency_weight` near 1), energy (`energy_weight`), a byte budget (`Snapshot.allowance`), or anything between.

    Attributes:
        accuracy_weight: how much a wrong answer in time is worse than a right one: 1 makes it worthless, 0 as good.
        latency_weight: with a 250 ms deadline and 0.075, half a point of accuracy weighs as much as 17 ms.
        device_weight: what a lost frame costs, for options that need the device longer than frames are apart: at 115 ms
            and ten frames a second each answer costs 0.15 other frames. Too much for a single such frame, too little
            for a series; 0.7 served best in simulation.
        link_weight: what a frame interval is worth for which a message keeps the uplink to itself, beyond the first: it
            may have to be waited out by the frames behind it if the rate drops. Expected over the belief, so that a
            message of 50 kB is dear where the link may be thin, and free where it is surely fast.
        energy_weight: what a joule of the device is worth, for plans that know joules.
        curiosity: share of what knowing the rate would be worth to one frame (the expected value of perfect
            information, Howard 1966) that an answer from a tier is worth besides, for the frames after it. Only where
            nothing is hedged: a device that goes on alone keeps sending anyway.
        margin: share of the previous choice's worth by which another has to be better to replace it, right after a
            change ...
        settle_s: ... falling to a tenth of that in so many seconds without one.
        enough: a probability of being in time that counts as "can be in time"; below it for every option, the best
            chance is taken.
        hopeless: a probability below which even the best chance is not worth its bytes: the frame is given up.
        device_jitter_s: scale of what the device's own measured times leave unexplained.

    Raises:
        InvalidValue: a weight or share outside its range.
    """

    accuracy_weight: float = 1.0
    latency_weight: float = 0.075
    device_weight: float = 0.7
    link_weight: float = 0.03
    energy_weight: float = 0.0
    curiosity: float = 0.15
    margin: float = 0.01
    settle_s: float = 2.0
    enough: float = 0.2
    hopeless: float = 0.02
    device_jitter_s: float = 0.001

    def __post_init__(self) -> None:
        ranges = {
            "accuracy_weight": 1.0,
            "latency_weight": 10.0,
            "device_weight": 10.0,
            "link_weight": 10.0,
            "energy_weight": 1e6,
            "curiosity": 10.0,
            "margin": 1.0,
            "settle_s": 1e3,
            "enough": 1.0,
            "hopeless": 1.0,
        }
        bounds = {name: (0.0, high) for name, high in ranges.items()} | {"device_jitter_s": (1e-6, 10.0)}
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise InvalidValue(f"{name} is {value!r}; it has to be a number from {low:g} to {high:g}")

    def of_answer(self, accuracy: FloatArray) -> FloatArray:
        """What an answer in time is worth that is right with this probability."""
        return accuracy if self.accuracy_weight == 1.0 else 1.0 - self.accuracy_weight * (1.0 - accuracy)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a frame may spend on the uplink.

    Attributes:
        left_bytes: no message may be longer.
        price: what a byte costs, in the units of `Goal`.
    """

    left_bytes: float
    price: float


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

    def __post_init__(self) -> None:
        if not 0.0 <= self.importance < float("inf"):
            raise InvalidValue(f"importance is {self.importance!r}; it has to be a finite number of at least 0")
        if self.interval_s is not None and not self.interval_s > 0.0:
            raise InvalidValue(
                f"interval_s is {self.interval_s!r}; it has to be above 0, or None if frames have no pace"
            )


@dataclass(frozen=True, slots=True)
class ExitFirst:
    """An exit on the way to a cut: its answer is final if it is at least so confident, else the frame goes on.

    Attributes:
        cut: of the exit; not behind the choice's.
        confidence: 0 to 1.
    """

    cut: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done with a frame.

    Attributes:
        choice: None gives the frame up: end it now, with `reason`.
        expected_s: expected seconds from `now_s` to the answer, each possibility counted at most up to the deadline.
        first: if set, a hedge has to run before this frame is taken up; decide again after it.
        in_time: probability that the answer comes before the deadline.
        reason: one short phrase, for the history and for people.
        exit_first: for a choice that leaves the device, the exit that is asked before.
        lost: what it is predicted to be worth less than the best, to try a part that has not run for long.
    """

    choice: Choice | None
    expected_s: float
    in_time: float
    reason: str
    first: Hedge | None = None
    exit_first: ExitFirst | None = None
    lost: float = 0.0


@dataclass(frozen=True, slots=True)
class Hedge:
    """A local continuation that is worth starting now.

    Attributes:
        key: of the frame in flight.
        choice: the device answer to go on to.
        device_s: what that still takes.
        chance: that the remote answer comes in time after all.
        gain: expected worth, the compute's price taken off.
    """

    key: Hashable
    choice: Choice
    device_s: float
    chance: float
    gain: float


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


def read_only(values: object) -> FloatArray:
    """A float64 copy that refuses writes."""
    array = np.array(values, dtype=np.float64)
    array.flags.writeable = False
    return array
