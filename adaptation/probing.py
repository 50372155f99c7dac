"""When to send a small probe: often while the link seems dead, seldom while nobody else measures it, else never."""

from __future__ import annotations

from dataclasses import dataclass

from adaptation.budget import ByteBudget
from adaptation.errors import InvalidValue
from adaptation.plan import Plan
from adaptation.snapshot import LinkEstimate

PROBE_BYTES, ECHO_BYTES = 70, 20
"""What a message of a probe costs on the uplink, headers of the stream included; and one that only asks for an echo."""
DEFAULT_FLOOR_BPS = 3200.0
LONGEST_TRAIN = 25
PATIENT = 5.0
SHARE_OF_BUDGET = 0.05
SILENT = 1
PROBE_S = 0.05
"""A probe is no longer than what the link is believed to carry in this time: it has to leave room for frames."""
FLOOR_MESSAGES_PER_S = 5.0
"""While nothing else is sent, probes may take as much as so many of the plan's smallest messages."""


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """The pace and the price of probes.

    Attributes:
        dead_every_s: interval while the link is believed dead, twice as long after each probe without an answer and at
            most `PATIENT` times: those already queued will tell of the return, more of them would only delay what is
            sent after it.
        idle_every_s: interval while it is believed alive but nothing else was sent.
        share: of all bytes sent, the most that probes may be ...
        floor_bps: ... or this many bits per second since the start, whichever is more.
        believed_dead: below this probability of being alive the link counts as dead.
        train: messages sent back to back as one probe: one of `PROBE_BYTES` passes a link on which a frame of thousands
            of bytes would be late, and so says little about it.
    """

    dead_every_s: float = 0.2
    idle_every_s: float = 1.0
    share: float = 0.01
    floor_bps: float = DEFAULT_FLOOR_BPS
    believed_dead: float = 0.5
    train: int = 1

    @property
    def train_bytes(self) -> int:
        """What one probe costs."""
        return self.train * PROBE_BYTES

    @classmethod
    def for_plan(cls, plan: Plan, budget: ByteBudget | None = None) -> ProbeSettings:
        """The usual pace, with trains and a floor in proportion to the smallest message of the plan; of a byte budget
        probes take a small share."""
        smallest = min((option.message_bytes for option in plan if option.choice.remote), default=0.0)
        floor_bps = max(DEFAULT_FLOOR_BPS, FLOOR_MESSAGES_PER_S * 8.0 * smallest)
        if budget is not None:
            floor_bps = min(floor_bps, 8.0 * SHARE_OF_BUDGET * budget.bytes_per_s)
        train = max(1, min(LONGEST_TRAIN, int(smallest / PROBE_BYTES)))
        return cls(idle_every_s=0.1 if train > 1 else 1.0, floor_bps=floor_bps, train=train)

    def __post_init__(self) -> None:
        if min(self.dead_every_s, self.idle_every_s) <= 0.0 or not 0.0 <= self.share <= 1.0 or self.floor_bps < 0.0:
            raise InvalidValue("probe intervals have to be above 0 s, share from 0 to 1, floor_bps at least 0")
        if self.train < 1:
            raise InvalidValue(f"train is {self.train}; a probe has to be at least one message")


@dataclass(slots=True)
class ProbeState:
    """What was sent so far on one route. Times are seconds on the caller's clock.

    Attributes:
        started_s: when the session began.
        last_sent_s: when anything was last sent on the route (frame or probe); None if nothing ever was.
        last_probe_s: when a probe was last sent; None if none ever was.
        sent_bytes: of frames and probes together.
        probe_bytes: of probes alone.
        unanswered: probes sent since the last answer of any kind; whoever gets one sets it to 0.
        short: whether the last probe only asked for an echo: once that has come, a whole one is due.
    """

    started_s: float
    last_sent_s: float | None = None
    last_probe_s: float | None = None
    sent_bytes: float = 0.0
    probe_bytes: float = 0.0
    unanswered: int = 0
    short: bool = False

    def sent(self, size: float, now_s: float, *, probe: bool = False) -> None:
        """A frame, or a whole probe, was sent."""
        self.last_sent_s = now_s
        self.sent_bytes += size
        if probe:
            self.last_probe_s = now_s
            self.probe_bytes += size
            self.unanswered += 1
            self.short = size <= 2 * ECHO_BYTES


def probe_due(uplink: LinkEstimate, state: ProbeState, now_s: float, settings: ProbeSettings) -> bool:
    """Whether to send a probe now. Pure; ask again whenever something else wakes you, or at `next_probe_s`."""
    if now_s < next_probe_s(uplink, state, settings):
        return False
    budget_bytes = max(settings.share * state.sent_bytes, settings.floor_bps / 8.0 * (now_s - state.started_s))
    return state.probe_bytes <= budget_bytes + settings.train_bytes


def probe_parts(uplink: LinkEstimate, pace: ProbeSettings, unanswered: int = 0) -> tuple[int, ...]:
    """Bytes in each part of a probe, one part or two.

    Of two parts, the estimator is told of the whole with the echo of the second (`sent`, `acknowledged`), and of the
    first by `timed`: it shows the round trip, the train behind it the rate. One echo of the whole could not tell a slow
    link from a far tier (packet trains: Dovrolis et al., INFOCOM 2001). Where the link seems dead, or the last `SILENT`
    probes are still unanswered, one message is enough to see it return, and none may fill the queue by itself.
    """
    if uplink.alive < pace.believed_dead:
        return (ECHO_BYTES,)
    if pace.train == 1 or unanswered >= SILENT:
        return (PROBE_BYTES,)
    carried = int(uplink.mean_bps() * PROBE_S / (8.0 * PROBE_BYTES))
    return PROBE_BYTES, PROBE_BYTES * max(min(pace.train, carried) - 1, 1)


def next_probe_s(uplink: LinkEstimate, state: ProbeState, pace: ProbeSettings) -> float:
    """The absolute moment at which a probe becomes due if nothing else happens; may lie in the past."""
    if uplink.alive < pace.believed_dead:
        every_s = pace.dead_every_s * min(2.0 ** min(max(state.unanswered - 1, 0), 10), PATIENT)
        return state.started_s if state.last_probe_s is None else state.last_probe_s + every_s
    every_s = pace.idle_every_s
    if state.short and not state.unanswered:
        every_s = min(every_s, pace.dead_every_s)
    return state.started_s if state.last_sent_s is None else state.last_sent_s + every_s
