"""What a simulated run is played under, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from adaptation.budget import ByteBudget
from adaptation.one_way import WRAP_US
from adaptation.plan import Choice, Option, Plan, Route
from adaptation.probing import ProbeSettings
from adaptation.snapshot import TierState
from adaptation.trying import Trials
from testbed.simulation.supply import Supply

KEEPS_ALL = float("inf")
"""`held_back_bytes` of a transport from which nothing can be taken back."""
CLOCK_S = 4290.0
"""What the tier's clock shows when a run begins: more than an hour, and soon beyond what its stamps can tell."""


def steady(of_s: float) -> float:
    """A device at its own speed, at any time and for any work."""
    return 1.0


def reachable(now_s: float) -> Mapping[Route, TierState]:
    """Every tier can be reached and nothing waits there."""
    return _REACHABLE


_REACHABLE: Mapping[Route, TierState] = {route: TierState(True) for route in tuple(Route) if route is not Route.DEVICE}


def stamped(arrived_s: float) -> int:
    """By a clock that shows something else than ours, as a tier tells it."""
    return int(1e6 * (arrived_s + CLOCK_S)) % WRAP_US or 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """One device, its link and its tiers.

    Attributes:
        plan: what may be chosen, with the true figures at the device's own speed.
        supply: the uplink.
        downlink: of the answers; None takes no time for them.
        seconds: frames are captured in [0, seconds).
        deadline_s, interval_s: allowed per frame; between frames.
        first_s: when the first one is captured, less than an interval.
        one_way_s: propagation in each direction.
        extra_s: per route, what its round trip takes beyond that.
        answered: when the answer comes of a message on a route that reaches its tier at a time, and what the tier says
            to have taken, given what it would take and the seconds beside that; infinite is never. None adds them up.
        jitter_s: scale of an exponential delay of each answer; 0 for none.
        held_back_bytes: see `Uplink`.
        probing: whether probes are sent ...
        probes: ... and their pace; None takes the usual one for the plan.
        slowdown: factor on the device's seconds at a time (co-running work).
        varied: factor on the device's seconds for a frame, given these (no two frames take the same).
        own_s: of the device for each frame, besides computing, before that; no plan knows of it.
        tiers: what the device sees of the tiers at a time.
        busy: seconds that a frame arriving at a time waits in the tier ...
        hint: ... and what the tier says about that with its answers, given the time and how many answers came before;
            None says nothing.
        importance: of the frame of an index; None makes all alike.
        confidence: of the exit about the frame of an index; it is right with this probability. None takes every exit to
            be unsure, and an exit's own accuracy for its answers.
        sizes: bytes of the message of the frame of an index, sent by an option; None takes the plan's means.
        budget: of bytes; None leaves them unpriced.
        timing: what the tier says to have taken, given the time and what it took.
        stamp: microseconds on the tier's clock that it says a frame arrived at, given when it did; None says nothing.
        embedded: whether a level's payload is the front of the next one's, so that payloads can be cut on their way.
        believed: the plan that the device starts with, where that is not the truth.
        trials: opens the device's account for trying parts that have not run for long; None tries none.
        think_again: whether a policy that can is asked once more when a head is done (`DeadlinePolicy.on_sending`).
        seed: of the jitter.
    """

    plan: Plan
    supply: Supply
    seconds: float
    deadline_s: float
    interval_s: float = 0.1
    first_s: float = 0.0
    one_way_s: float = 0.02
    extra_s: Mapping[Route, float] = field(default_factory=dict)
    answered: Callable[[Route, float, float, float], tuple[float, float]] | None = None
    downlink: Supply | None = None
    jitter_s: float = 0.0
    held_back_bytes: float = KEEPS_ALL
    probing: bool = True
    probes: ProbeSettings | None = None
    slowdown: Callable[[float], float] = steady
    varied: Callable[[float], float] = steady
    own_s: float = 0.0
    tiers: Callable[[float], Mapping[Route, TierState]] = reachable
    busy: Callable[[float], float] | None = None
    hint: Callable[[float, int], float] | None = None
    timing: Callable[[float, float], float] | None = None
    stamp: Callable[[float], int] | None = stamped
    importance: Callable[[int], float] | None = None
    confidence: Callable[[int], float] | None = None
    sizes: Callable[[int, Option], float] | None = None
    budget: ByteBudget | None = None
    embedded: bool = False
    believed: Plan | None = None
    trials: Callable[[], Trials] | None = None
    think_again: bool = True
    seed: int = 0


@dataclass(slots=True)
class Frame:
    """One frame of a run.

    Attributes:
        captured_s: when.
        choice: what was decided first; None if it was never taken up or given up.
        done_s: when its answer was delivered; None if never.
        by: whose answer that is, a device choice after a hedge.
        front_of: what was sent, where its payload was cut short on the way and `choice` is what is left of it.
        accuracy: of that answer; 0 if none came in time.
        device_s, hedge_s: of the device, without and for the hedge.
        delivered: how many answers were handed out; never more than one.
        importance: see `Snapshot`.
    """

    captured_s: float
    importance: float = 1.0
    choice: Choice | None = None
    done_s: float | None = None
    by: Choice | None = None
    front_of: Choice | None = None
    accuracy: float = 0.0
    device_s: float = 0.0
    hedge_s: float = 0.0
    delivered: int = 0


@dataclass(slots=True)
class Run:
    """What came of a run.

    Attributes:
        frames: in order of capture.
        sent_bytes, probe_bytes: put on the uplink, probes included in the former; what was taken back is not in it.
    """

    frames: list[Frame]
    sent_bytes: float = 0.0
    probe_bytes: float = 0.0

    @property
    def utility(self) -> float:
        """Mean accuracy of the answers in time, frames without one counted as 0."""
        return sum(frame.accuracy for frame in self.frames) / len(self.frames)

    @property
    def missed(self) -> int:
        """Frames without an answer in time."""
        return sum(frame.delivered == 0 for frame in self.frames)

    @property
    def device_s(self) -> float:
        """Seconds that the device computed, hedges included."""
        return sum(frame.device_s + frame.hedge_s for frame in self.frames)
