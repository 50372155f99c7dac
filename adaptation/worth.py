"""What each option of a plan is worth to one frame: the chance to be in time, and the time it takes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from adaptation.arrays import FloatArray
from adaptation.goal import Goal
from adaptation.hedging import USUAL_INTERVAL_S, Hedging
from adaptation.plan import Columns, Route
from adaptation.snapshot import DEFAULT_BASE_RTT_S, Snapshot


@dataclass(frozen=True, slots=True, eq=False)
class Worth:
    """One entry per option, in plan order.

    Attributes:
        utility: see `Goal`; -inf where impossible.
        in_time: probability that the answer comes before the deadline; 0 where impossible.
        expected_s: expected seconds from `now_s` to the answer, cut off at the deadline.
    """

    utility: FloatArray
    in_time: FloatArray
    expected_s: FloatArray

    def best(self, indices: Iterable[int] | None = None) -> int:
        """The index of the greatest utility; among equals the first of the plan."""
        if indices is None:
            return int(self.utility.argmax())
        return max(indices, key=lambda index: float(self.utility[index]))


def usable(snapshot: Snapshot, route: Route) -> bool:
    """Whether a frame can be sent by this route now. The device itself always is."""
    if route is Route.DEVICE:
        return True
    state = snapshot.tiers.get(route)
    return (
        state is not None
        and state.reachable
        and snapshot.uplink is not None
        and route not in snapshot.uplink.unanswering
    )


def worth(snapshot: Snapshot, goal: Goal, hedging: Hedging | None = None) -> Worth:
    """Predict every option's completion over the belief about the uplink, and value it by the goal. Pure.

    With `hedging`, an option that leaves the device is also worth what a local continuation saves of it.
    """
    columns = snapshot.plan.columns
    now_s, deadline_s = snapshot.now_s, snapshot.deadline_s
    captured_s = now_s if snapshot.captured_s is None else snapshot.captured_s
    budget_s = max(deadline_s - captured_s, 1e-9)
    computed_s = columns.device_s + max(now_s, snapshot.device_free_s)  # [options]

    ways = [_way(snapshot, route) for route in columns.routes]
    in_time, early_s, missed = _remote(snapshot, ways, computed_s)
    if snapshot.allowance is not None:
        too_long = columns.message_bytes > snapshot.allowance.left_bytes
        in_time[too_long], missed[too_long] = 0.0, 1.0
    ready_s = deadline_s - max(now_s, snapshot.device_free_s)
    for place, device_s in columns.own:
        slack_s = ready_s - device_s
        in_time[place], early_s[place] = _in_time(slack_s / goal.device_jitter_s), max(slack_s, 0.0)

    expected_s = (deadline_s - now_s) - early_s
    answer = goal.of_answer(columns.accuracy)
    if snapshot.importance != 1.0:
        answer = snapshot.importance * answer
    utility = answer * in_time
    if hedging is not None and columns.own:
        utility += (1.0 - in_time) * _saved(snapshot, goal, answer, ready_s, hedging)
    elif snapshot.uplink is not None and goal.curiosity > 0.0:
        utility += goal.curiosity * _insight(columns, snapshot.uplink.weights, answer, in_time, missed)
    if goal.latency_weight > 0.0:
        utility -= (goal.latency_weight / budget_s) * (expected_s + (now_s - captured_s))
    if snapshot.interval_s is not None and snapshot.uplink is not None and goal.link_weight > 0.0:
        utility -= _clog_price(columns, goal, snapshot.uplink.rates_bps, snapshot.interval_s) @ snapshot.uplink.weights
    utility -= columns.kept(
        ("price", goal, (snapshot.interval_s, snapshot.spent_s)), lambda: _standing_price(columns, goal, snapshot)
    )
    if snapshot.allowance is not None:
        utility -= snapshot.allowance.price * columns.message_bytes
        utility[columns.message_bytes > snapshot.allowance.left_bytes] = -np.inf
    for place, way in enumerate(ways):
        if not way.usable:
            utility[columns.route == place] = -np.inf
    return Worth(utility=utility, in_time=in_time, expected_s=expected_s)


def _insight(
    columns: Columns, weights: FloatArray, answer: FloatArray, in_time: FloatArray, missed: FloatArray
) -> FloatArray:
    """[options]: what a frame would gain if the rate were known before it is decided, for the answers that tell it.

    Args:
        columns: of the plan.
        weights: [rates].
        answer: [options], worth of an answer in time.
        in_time: [options], its chance.
        missed: [options, rates], see `_remote`; is overwritten.
    """
    known = np.subtract(1.0, missed, out=missed)
    known *= 0.5 * answer[:, None]
    expected = answer * in_time
    for place, _ in columns.own:
        known[place] = expected[place]
    gain = float(np.maximum.reduce(known, axis=0) @ weights) - float(np.maximum.reduce(expected))
    told: FloatArray = max(gain, 0.0) * in_time
    for place, _ in columns.own:
        told[place] = 0.0
    return told


def _saved(snapshot: Snapshot, goal: Goal, answer: FloatArray, ready_s: float, hedging: Hedging) -> FloatArray:
    """[options]: what a local continuation is worth if the answer does not come, its compute taken off; 0 for device
    answers and where none would be in time.

    Args:
        snapshot: of the frame.
        goal: what `answer` follows from.
        answer: [options], worth of an answer in time.
        ready_s: from the moment at which the device can begin to the deadline.
        hedging: prices.
    """
    columns, interval_s = snapshot.plan.columns, snapshot.interval_s
    gains = columns.kept(
        ("hedge", hedging, (interval_s, goal.accuracy_weight, snapshot.importance)),
        lambda: _hedge_gains(columns, answer, hedging, interval_s),
    )
    able = columns.after_s <= ready_s - hedging.guard_s
    saved: FloatArray = np.maximum.reduce(gains * able, axis=1)
    return saved


def _standing_price(columns: Columns, goal: Goal, snapshot: Snapshot) -> FloatArray:
    """[options]: what each costs whatever the link does: frames lost while the device computes, `spent_s` included, and
    energy."""
    price: FloatArray = goal.energy_weight * columns.joules
    if snapshot.interval_s is None:
        return price
    over_s = np.maximum(columns.device_s + (snapshot.spent_s - snapshot.interval_s), 0.0)
    return price + (goal.device_weight / snapshot.interval_s) * over_s


def _hedge_gains(columns: Columns, answer: FloatArray, hedging: Hedging, interval_s: float | None) -> FloatArray:
    """[options, local]: the worth of each continuation less the price of its device time, at least 0; 0 for device
    answers, which nothing continues."""
    cost: FloatArray = columns.continue_s * (hedging.price / (interval_s or USUAL_INTERVAL_S))
    if interval_s is not None:
        cost = cost + np.maximum(columns.after_s - interval_s, 0.0) * (hedging.crowding / interval_s)
    gains: FloatArray = hedging.trust * np.maximum(answer[columns.local] - cost, 0.0)
    gains[columns.local] = 0.0
    return gains


def _clog_price(columns: Columns, goal: Goal, rates_bps: FloatArray, interval_s: float) -> FloatArray:
    """[options, rates]: what it costs that a message keeps the link to itself."""
    return columns.kept(
        ("clog price", rates_bps, (interval_s, goal.link_weight)),
        lambda: goal.link_weight * columns.clog(rates_bps, interval_s),
    )


def _remote(
    snapshot: Snapshot, ways: Sequence[Way], computed_s: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """For each option as if it left the device: the chance to be in time, and the mean of how early it comes, in
    seconds before the deadline with lateness as 0, both 0 by an unusable route; and at each rate how likely it is late
    less how likely it is not, from -1 to 1, 1 by an unusable route. Of device answers they mean nothing."""
    columns, uplink = snapshot.plan.columns, snapshot.uplink
    if uplink is None or not any(way.usable for way in ways):
        rates = 1 if uplink is None else uplink.weights.size
        return np.zeros(computed_s.size), np.zeros(computed_s.size), np.ones((computed_s.size, rates))
    late_s = np.maximum(computed_s[:, None], uplink.free_s)  # [options, rates]
    late_s += columns.service_s(uplink.rates_bps)
    late_s += _by_route(columns, [way.after_s - snapshot.deadline_s for way in ways])
    if uplink.downlink_bps != math.inf:
        late_s += (columns.result_bytes * (8.0 / uplink.downlink_bps))[:, None]
    share = late_s * late_s
    share += _by_route(columns, [way.noise for way in ways])
    np.sqrt(share, out=share)
    np.divide(late_s, share, out=share)
    np.minimum(late_s, 0.0, out=late_s)
    in_time: FloatArray = 0.5 - 0.5 * (share @ uplink.weights)  # as _in_time, all rates at once
    early_s: FloatArray = -(late_s @ uplink.weights)
    for place, way in enumerate(ways):
        if not way.usable:
            unusable = columns.route == place
            in_time[unusable] = early_s[unusable] = 0.0
            share[unusable] = 1.0
    return in_time, early_s, share


def _by_route(columns: Columns, values: Sequence[float]) -> float | FloatArray:
    """A value for each route as one for each option, [options, 1]; just a number where only one leaves the device."""
    if columns.remote is not None:
        return values[columns.remote]
    found: FloatArray = np.array(values)[columns.route][:, None]
    return found


class Way(NamedTuple):
    """A route as it is now: seconds outside the uplink's queue and the tier's computing, twice the noise's squared
    scale, and whether frames can go by it."""

    after_s: float
    noise: float
    usable: bool


def _way(snapshot: Snapshot, route: Route) -> Way:
    uplink = snapshot.uplink
    if route is Route.DEVICE:
        return Way(0.0, 1.0, True)
    if uplink is None or not usable(snapshot, route):
        return Way(0.0, 1.0, False)
    state = snapshot.tiers[route]
    base_s = uplink.base_rtt_s.get(route, DEFAULT_BASE_RTT_S) if state.base_rtt_s is None else state.base_rtt_s
    scale_s = uplink.jitter_s.get(route, 0.1 * DEFAULT_BASE_RTT_S)
    return Way(state.wait_s + base_s, 2.0 * scale_s * scale_s, True)


def _in_time(slack: float) -> float:
    """P(noise <= slack) for Student's t with two degrees of freedom; `slack` in units of the noise's scale."""
    return 0.5 + 0.5 * slack / math.sqrt(2.0 + slack * slack)
