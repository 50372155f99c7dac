"""What was known and what each choice promised when a decision was made: plain values for a history, and for people."""

from __future__ import annotations

from typing import Any

import numpy as np

from adaptation.decision import Decision
from adaptation.goal import Goal
from adaptation.hedging import Hedging
from adaptation.snapshot import LinkEstimate, Snapshot
from adaptation.worth import Worth, worth

SHOWN = 5
"""Options told of besides the chosen one."""


def describe(snapshot: Snapshot, decision: Decision, goal: Goal, hedging: Hedging | None = None) -> dict[str, Any]:
    """A decision as JSON-ready values.

    Returns:
        `left_s` until the deadline; `device_busy_s`; `link` (None without one); `reason`; `in_time` and `expected_s` as
        predicted for the choice; `options`, the chosen one first, then the best others, each with its predictions.
    """
    values = worth(snapshot, goal, hedging)
    positions = snapshot.plan.columns.positions
    first = [] if decision.choice is None else [positions[decision.choice]]
    others = [place for place in np.argsort(-values.utility).tolist() if place not in first]
    return {
        "left_s": round(snapshot.deadline_s - snapshot.now_s, 4),
        "device_busy_s": round(max(snapshot.device_free_s - snapshot.now_s, 0.0), 4),
        "link": None if snapshot.uplink is None else _link(snapshot.uplink),
        "reason": decision.reason,
        "in_time": round(decision.in_time, 4),
        "expected_s": round(decision.expected_s, 4),
        "options": [_option(snapshot, values, place) for place in (first + others)[: SHOWN + len(first)]],
    }


def interval_bps(uplink: LinkEstimate, shares: tuple[float, ...] = (0.1, 0.5, 0.9)) -> tuple[float, ...]:
    """Rates below which the link is believed to be with these probabilities."""
    below = np.cumsum(uplink.weights)
    return tuple(float(uplink.rates_bps[min(int(np.searchsorted(below, one)), below.size - 1)]) for one in shares)


def _link(uplink: LinkEstimate) -> dict[str, Any]:
    return {
        "rate_bps": [round(rate) for rate in interval_bps(uplink)],
        "alive": round(uplink.alive, 4),
        "backlog_bytes": round(uplink.backlog_bytes),
        "silent_s": round(uplink.silent_s, 4),
        "round_trip_s": {str(route): round(seconds, 4) for route, seconds in uplink.base_rtt_s.items()},
    }


def _option(snapshot: Snapshot, values: Worth, place: int) -> dict[str, Any]:
    option = snapshot.plan[place]
    utility = float(values.utility[place])
    return {
        "cut": option.choice.cut,
        "level": option.choice.level,
        "route": str(option.choice.route),
        "bytes": round(option.message_bytes),
        "device_s": round(option.device_s, 5),
        "tier_s": round(option.tier_s, 5),
        "accuracy": option.accuracy,
        "in_time": round(float(values.in_time[place]), 4),
        "expected_s": round(float(values.expected_s[place]), 4),
        "utility": round(utility, 4) if np.isfinite(utility) else None,
    }
