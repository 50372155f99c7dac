"""`decide` for many devices at once: the same arithmetic as `worth`, with devices as one more axis.

For simulating fleets and for tiers that decide on behalf of devices. All devices share one plan and one grid of rates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adaptation.arrays import FloatArray
from adaptation.goal import Goal
from adaptation.hedging import USUAL_INTERVAL_S, Hedging
from adaptation.plan import Plan, Route
from adaptation.snapshot import DEFAULT_BASE_RTT_S, Snapshot
from adaptation.worth import usable

BLOCK = 2048
"""Devices worked on at once: their [devices, options, rates] array has to stay in the processor's cache."""


@dataclass(frozen=True, slots=True, eq=False)
class Snapshots:
    """Many snapshots as columns.

    Attributes:
        plan: shared by all.
        rates_bps: float64, [rates].
        weights, free_s: float64, [devices, rates]; see `LinkEstimate`.
        start_s, left_s, age_s: float64, [devices]: until the device is free, until the deadline, since the capture, all
            counted from each device's now.
        after_s, scale_s: float64, [devices, routes of the plan]: seconds outside queue and computing, and noise scale.
        usable: bool, [devices, routes of the plan].
        interval_s: float64, [devices]; infinite where frames have no pace.
        importance: float64, [devices]; see `Snapshot`.
        left_bytes, price: float64, [devices]; see `Allowance`; infinite and 0 without one.
        downlink_bps: float64, [devices]; see `LinkEstimate`.
        spent_s: float64, [devices]; see `Snapshot`.
    """

    plan: Plan
    rates_bps: FloatArray
    weights: FloatArray
    free_s: FloatArray
    start_s: FloatArray
    left_s: FloatArray
    age_s: FloatArray
    after_s: FloatArray
    scale_s: FloatArray
    usable: NDArray[np.bool_]
    interval_s: FloatArray
    importance: FloatArray
    left_bytes: FloatArray
    price: FloatArray
    downlink_bps: FloatArray
    spent_s: FloatArray

    @classmethod
    def of(cls, snapshots: list[Snapshot]) -> Snapshots:
        """Columns from snapshots that share a plan and all have an uplink."""
        plan = snapshots[0].plan
        routes = plan.columns.routes
        ways = [[_way(one, route) for route in routes] for one in snapshots]
        uplinks = [one.uplink for one in snapshots if one.uplink is not None]
        now_s = np.array([one.now_s for one in snapshots])
        captured_s = np.array([one.now_s if one.captured_s is None else one.captured_s for one in snapshots])
        return cls(
            plan=plan,
            rates_bps=uplinks[0].rates_bps,
            weights=np.array([one.weights for one in uplinks]),
            free_s=np.array([one.free_s for one in uplinks]) - now_s[:, None],
            start_s=np.maximum(np.array([one.device_free_s for one in snapshots]) - now_s, 0.0),
            left_s=np.array([one.deadline_s for one in snapshots]) - now_s,
            age_s=now_s - captured_s,
            after_s=np.array([[way[0] for way in row] for row in ways]),
            scale_s=np.array([[way[1] for way in row] for row in ways]),
            usable=np.array([[way[2] for way in row] for row in ways]),
            interval_s=np.array([np.inf if one.interval_s is None else one.interval_s for one in snapshots]),
            importance=np.array([one.importance for one in snapshots]),
            left_bytes=np.array([one.allowance.left_bytes if one.allowance else np.inf for one in snapshots]),
            price=np.array([one.allowance.price if one.allowance else 0.0 for one in snapshots]),
            downlink_bps=np.array([one.downlink_bps for one in uplinks]),
            spent_s=np.array([one.spent_s for one in snapshots]),
        )


def _way(snapshot: Snapshot, route: Route) -> tuple[float, float, bool]:
    if route is Route.DEVICE or snapshot.uplink is None or not usable(snapshot, route):
        return 0.0, 1.0, route is Route.DEVICE
    state = snapshot.tiers[route]
    base_s = state.base_rtt_s
    if base_s is None:
        base_s = snapshot.uplink.base_rtt_s.get(route, DEFAULT_BASE_RTT_S)
    return state.wait_s + base_s, snapshot.uplink.jitter_s.get(route, 0.1 * DEFAULT_BASE_RTT_S), True


def worth_many(fleet: Snapshots, goal: Goal, hedging: Hedging | None = None) -> FloatArray:
    """[devices, options]: the utility that `worth` gives each option; -inf where impossible."""
    blocks = [_block(fleet, slice(first, first + BLOCK), goal, hedging) for first in range(0, fleet.left_s.size, BLOCK)]
    return np.concatenate(blocks)


def _block(fleet: Snapshots, part: slice, goal: Goal, hedging: Hedging | None) -> FloatArray:
    columns = fleet.plan.columns
    left_s, age_s, interval_s = fleet.left_s[part, None], fleet.age_s[part, None], fleet.interval_s[part, None]
    budget_s = np.maximum(left_s + age_s, 1e-9)
    computed_s = columns.device_s + fleet.start_s[part, None]  # [devices, options]
    in_time, early_s, missed = _remote(fleet, part, computed_s)
    too_long = columns.message_bytes > fleet.left_bytes[part, None]
    in_time[too_long], missed[too_long] = 0.0, 1.0
    slack_s = left_s - computed_s[:, columns.local]
    units = slack_s / goal.device_jitter_s
    in_time[:, columns.local] = 0.5 + 0.5 * units / np.sqrt(2.0 + units * units)
    early_s[:, columns.local] = np.maximum(slack_s, 0.0)

    answer = fleet.importance[part, None] * goal.of_answer(columns.accuracy)
    utility: FloatArray = answer * in_time
    if hedging is not None and columns.local.size:
        utility += (1.0 - in_time) * _saved(fleet, part, answer[:, columns.local], computed_s, hedging)
    elif goal.curiosity > 0.0:
        utility += goal.curiosity * _insight(fleet, part, answer, in_time, missed)
    utility -= goal.latency_weight / budget_s * (left_s - early_s + age_s)
    paced = np.where(np.isinf(interval_s), 1.0, interval_s)
    over_s = np.where(np.isinf(interval_s), 0.0, np.maximum(columns.device_s + fleet.spent_s[part, None] - paced, 0.0))
    utility -= goal.device_weight / paced * over_s
    utility -= goal.link_weight * _clog(fleet, part)
    utility -= goal.energy_weight * columns.joules + fleet.price[part, None] * columns.message_bytes
    utility[too_long] = -np.inf
    utility[~fleet.usable[part][:, columns.route]] = -np.inf
    return utility


def _clog(fleet: Snapshots, part: slice) -> FloatArray:
    """[devices, options]: frame intervals for which a message is expected to keep the link to itself."""
    clog = np.zeros((fleet.left_s[part].size, len(fleet.plan)))
    for interval_s in np.unique(fleet.interval_s[part]):
        if np.isfinite(interval_s):
            paced = fleet.interval_s[part] == interval_s
            clog[paced] = fleet.weights[part][paced] @ fleet.plan.columns.clog(fleet.rates_bps, float(interval_s)).T
    return clog


def _remote(fleet: Snapshots, part: slice, computed_s: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    columns = fleet.plan.columns
    after_s = fleet.after_s[part][:, columns.route] + columns.tier_s - fleet.left_s[part, None]
    after_s += np.multiply.outer(8.0 / fleet.downlink_bps[part], columns.result_bytes)
    scale_s = fleet.scale_s[part][:, columns.route]
    late_s = np.maximum(computed_s[:, :, None], fleet.free_s[part][:, None, :])  # [devices, options, rates]
    late_s += np.multiply.outer(columns.message_bytes, 8.0 / fleet.rates_bps)
    late_s += after_s[:, :, None]
    share = late_s / np.sqrt(late_s * late_s + 2.0 * (scale_s * scale_s)[:, :, None])
    np.minimum(late_s, 0.0, out=late_s)
    weights = fleet.weights[part][:, :, None]
    able = fleet.usable[part][:, columns.route]
    share[~able] = 1.0
    return (0.5 - 0.5 * (share @ weights)[:, :, 0]) * able, -(late_s @ weights)[:, :, 0] * able, share


def _insight(fleet: Snapshots, part: slice, answer: FloatArray, in_time: FloatArray, missed: FloatArray) -> FloatArray:
    """[devices, options]: as in `worth`. `missed`, [devices, options, rates], is overwritten."""
    local = fleet.plan.columns.local
    missed *= -0.5
    missed += 0.5
    missed *= answer[:, :, None]
    expected = answer * in_time
    missed[:, local] = expected[:, local, None]
    known = np.einsum("dr,dr->d", missed.max(axis=1), fleet.weights[part])
    told: FloatArray = np.maximum(known - expected.max(axis=1), 0.0)[:, None] * in_time
    told[:, local] = 0.0
    return told


def _saved(fleet: Snapshots, part: slice, own: FloatArray, computed_s: FloatArray, hedging: Hedging) -> FloatArray:
    columns = fleet.plan.columns
    interval_s = fleet.interval_s[part, None, None]
    slack_s = (fleet.left_s[part, None] - hedging.guard_s - computed_s)[:, :, None] - columns.continue_s
    unpaced = np.isinf(interval_s)
    paced = np.where(unpaced, 1.0, interval_s)
    total_s = columns.continue_s + columns.device_s[:, None]
    cost = columns.continue_s * (hedging.price / np.where(unpaced, USUAL_INTERVAL_S, interval_s))
    cost = cost + np.where(unpaced, 0.0, np.maximum(total_s - paced, 0.0) * (hedging.crowding / paced))
    gains = (own[:, None, :] - cost) * (slack_s >= 0.0)
    saved: FloatArray = hedging.trust * np.maximum(gains.max(axis=2), 0.0)
    saved[:, columns.local] = 0.0
    return saved
