"""Hedged local continuation: the device goes on by itself where a remote answer has become too unlikely.

A frame that was sent leaves its features at the cut behind, and the device can resume there. That costs device time,
which has a price, and the device does one thing at a time: a hedge has to begin before the last moment that still
ends in time, and before the device takes up something that would run past that moment. After Dean and Barroso, "The
tail at scale" (CACM 2013), with a price. All functions are pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from adaptation.decision import Hedge
from adaptation.errors import InvalidValue
from adaptation.plan import Option, Plan
from adaptation.snapshot import DEFAULT_BASE_RTT_S, InFlight, LinkEstimate

USUAL_INTERVAL_S = 0.1
"""What the price is per where frames have no pace."""
CUT_GAIN = 1.05
"""A payload on its way is cut short only if that makes it worth so much more: the next answer may end the doubt."""
OVERTAKEN = 0.02
"""Chance of an answer for a frame whose successors have been answered already."""


@dataclass(frozen=True, slots=True)
class Hedging:
    """When a hedge is worth its compute.

    Attributes:
        price: worth of one frame interval of device time.
        crowding: worth of the frames that are lost or put off because head and continuation take longer than frames
            are apart, per interval beyond one: the frame that finds the device busy, and those behind it.
        guard_s: a local answer is planned to be ready so long before the deadline.
        trust: share of planned hedges that come to be, on a device that does one thing at a time.
        useless: below this chance of being in time, a frame's unsent bytes are taken back.
        stay: share of a choice's worth by which answering alone has to be better to leave a tier for it, where
            deadlines leave continuations time to wait: what is sent can still be continued here, and only what is
            sent shows what the link carries.

    Raises:
        InvalidValue: a setting outside its range.
    """

    price: float = 0.01
    crowding: float = 1.5
    guard_s: float = 0.004
    trust: float = 1.0
    useless: float = 0.003
    stay: float = 0.15

    def __post_init__(self) -> None:
        highest = {"price": 100.0, "crowding": 10.0, "guard_s": 1.0, "trust": 1.0, "useless": 1.0, "stay": 1.0}
        for name, high in highest.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= high:
                raise InvalidValue(f"{name} is {value!r}; it has to be a number from 0 to {high:g}")

    def cost(self, device_s: float, head_s: float, interval_s: float | None) -> float:
        """What a continuation of `device_s` costs after a head of `head_s`, frames being `interval_s` apart."""
        if interval_s is None:
            return self.price * device_s / USUAL_INTERVAL_S
        return (self.price * device_s + self.crowding * max(device_s + head_s - interval_s, 0.0)) / interval_s


def chance_in_time(
    uplink: LinkEstimate, flight: InFlight, beyond_s: float, now_s: float, *, fewer_bytes: float = 0.0
) -> float:
    """P(the answer comes by the deadline | it has not come yet), if so many of its bytes were not sent after all.

    `beyond_s` is what follows the uplink besides the round trip (`LinkEstimate.beyond_s`).
    """
    left_s = flight.deadline_s - now_s
    if left_s <= 0.0 or not flight.awaited:
        return 0.0
    if uplink.leaves_s is None or flight.key not in uplink.flights:
        return OVERTAKEN
    route = flight.choice.route
    leaves_s = uplink.leaves_s[uplink.flights.index(flight.key)]
    scale_s = uplink.jitter_s.get(route, 0.1 * DEFAULT_BASE_RTT_S)
    if fewer_bytes > 0.0:
        leaves_s = leaves_s - (8.0 * fewer_bytes) / uplink.rates_bps
    late_now = leaves_s + (uplink.base_rtt_s.get(route, DEFAULT_BASE_RTT_S) + beyond_s - now_s)  # [rates]
    late_now /= scale_s
    late_then = late_now - left_s / scale_s
    kept = (1.0 + late_then / np.sqrt(2.0 + late_then * late_then)) / (1.0 + late_now / np.sqrt(2.0 + late_now**2))
    return float(min(max(1.0 - uplink.weights @ kept, 0.0), 1.0))


def front_to_send(uplink: LinkEstimate, plan: Plan, flight: InFlight, now_s: float, left_bytes: float) -> Option | None:
    """The lower level to which an embedded payload on its way is best cut short; None if it is best left as it is.

    Where levels are embedded, a payload's front is the payload of a lower level: what has not left the device can be
    taken back at any moment, and the answer is the lower level's.

    Args:
        uplink: the belief now.
        plan: holds the levels of the flight's cut.
        flight: the frame; its level is the one that it would have if nothing were done.
        now_s: this moment.
        left_bytes: what has left the device already; no shorter front is left to choose.
    """
    whole = plan.find(flight.choice)
    if whole is None or not flight.awaited:
        return None
    best, most = None, CUT_GAIN * whole.accuracy * chance_in_time(uplink, flight, uplink.beyond_s(whole), now_s)
    for option in plan:
        same = option.choice.cut == flight.choice.cut and option.choice.route is flight.choice.route
        if same and left_bytes <= option.message_bytes < whole.message_bytes:
            fewer = whole.message_bytes - option.message_bytes
            worth = option.accuracy * chance_in_time(uplink, flight, uplink.beyond_s(option), now_s, fewer_bytes=fewer)
            if worth > most:
                best, most = option, worth
    return best


def latest_start_s(own: Option, flight: InFlight, hedging: Hedging) -> float:
    """The last moment at which this device answer can still be started for a frame in flight."""
    return flight.deadline_s - hedging.guard_s - own.after_s(flight.choice.cut, flight.head_s)


def wake_s(plan: Plan, flights: Iterable[InFlight], hedging: Hedging, now_s: float) -> float | None:
    """When to look at these frames again if the device is idle until then; None if no hedge is possible any more."""
    starts = [
        latest_start_s(plan[place], flight, hedging)
        for flight in flights
        for place in plan.columns.local.tolist()
    ]  # fmt: skip
    return min((start_s for start_s in starts if start_s > now_s), default=None)


def due_hedge(
    uplink: LinkEstimate | None,
    plan: Plan,
    flights: Iterable[InFlight],
    hedging: Hedging,
    *,
    now_s: float,
    until_s: float,
    interval_s: float | None,
) -> Hedge | None:
    """The hedge that gains most among those that cannot wait until `until_s`, if any is worth its compute.

    Args:
        uplink: the belief now; None if nothing is known, so that no answer is expected.
        plan: holds the device's own answers.
        flights: frames in flight that have no hedge yet.
        hedging: prices.
        now_s: the device is idle now ...
        until_s: ... and would be free again then.
        interval_s: between frames, which the price is per; None if they have no pace.
    """
    best: Hedge | None = None
    for flight in flights:
        due, otherwise = _due(plan, flight, hedging, now_s, until_s)
        if not due:
            continue
        option = plan.find(flight.choice)
        chance = 0.0 if uplink is None else chance_in_time(uplink, flight, uplink.beyond_s(option), now_s)
        for own in due:
            device_s = own.after_s(flight.choice.cut, flight.head_s)
            gained = flight.importance * (own.accuracy - otherwise)
            gain = (1.0 - chance) * gained - hedging.cost(device_s, flight.head_s, interval_s)
            if gain > 0.0 and (best is None or gain > best.gain):
                best = Hedge(flight.key, own.choice, device_s, chance, gain)
    return best


def _due(plan: Plan, flight: InFlight, hedging: Hedging, now_s: float, until_s: float) -> tuple[list[Option], float]:
    """The device answers in time only if begun before `until_s`, and the accuracy of the best that can wait."""
    due: list[Option] = []
    otherwise = 0.0
    for place in plan.columns.local.tolist():
        start_s = latest_start_s(plan[place], flight, hedging)
        if start_s > until_s:
            otherwise = max(otherwise, plan[place].accuracy)
        elif start_s >= now_s:
            due.append(plan[place])
    return due, otherwise
