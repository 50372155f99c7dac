"""When to send a small probe: often while the link seems dead, seldom while nobody else measures it, else never."""

from __future__ import annotations

from dataclasses import dataclass

from adaptation.errors import InvalidValue
from adaptation.values import PROBE_BYTES, LinkEstimate


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """The pace and the price of probes.

    Attributes:
        dead_every_s: interval while the link is believed dead.
        patience: after so many probes in a row without an answer, dead links are probed at the idle pace: those
            already queued will tell of the return, and more of them would only delay what is sent after it.
        idle_every_s: interval while it is believed alive but nothing else was sent.
        share: of all bytes sent, the most that probes may be ...
        floor_bps: ... or this many bits per second since the start, whichever is more.
        believed_dead: below this probability of being alive the link counts as dead.
    """

    dead_every_s: float = 0.2
    patience: int = 10
    idle_every_s: float = 1.0
    share: float = 0.01
    floor_bps: float = 3200.0
    believed_dead: float = 0.5

    def __post_init__(self) -> None:
        if min(self.dead_every_s, self.idle_every_s) <= 0.0 or not 0.0 <= self.share <= 1.0 or self.floor_bps < 0.0:
            raise InvalidValue("probe intervals have to be above 0 s, share from 0 to 1, floor_bps at least 0")


@dataclass(frozen=True, slots=True)
class ProbeState:
    """What was sent so far on one route.

    Attributes:
        now_s, started_s: this moment, and when the session began.
        last_sent_s: when anything was last sent on the route (frame or probe); None if nothing ever was.
        last_probe_s: when a probe was last sent; None if none ever was.
        sent_bytes: of frames and probes together.
        probe_bytes: of probes alone.
        unanswered: probes sent since the last answer of any kind.
    """

    now_s: float
    started_s: float
    last_sent_s: float | None
    last_probe_s: float | None
    sent_bytes: float
    probe_bytes: float
    unanswered: int = 0


def probe_due(uplink: LinkEstimate, state: ProbeState, settings: ProbeSettings | None = None) -> bool:
    """Whether to send a probe now. Pure; ask again whenever something else wakes you, or at `next_probe_s`."""
    pace = settings or ProbeSettings()
    if state.now_s < next_probe_s(uplink, state, pace):
        return False
    budget_bytes = max(pace.share * state.sent_bytes, pace.floor_bps / 8.0 * (state.now_s - state.started_s))
    return state.probe_bytes + PROBE_BYTES <= budget_bytes + 2 * PROBE_BYTES


def next_probe_s(uplink: LinkEstimate, state: ProbeState, settings: ProbeSettings | None = None) -> float:
    """The absolute moment at which a probe becomes due if nothing else happens; may lie in the past."""
    pace = settings or ProbeSettings()
    if uplink.alive < pace.believed_dead:
        every_s = pace.dead_every_s if state.unanswered < pace.patience else max(pace.idle_every_s, pace.dead_every_s)
        return state.started_s if state.last_probe_s is None else state.last_probe_s + every_s
    return state.started_s if state.last_sent_s is None else state.last_sent_s + pace.idle_every_s
