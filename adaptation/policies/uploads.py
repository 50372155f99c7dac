"""What finished uploads say about the link, as the published throughput rules see it: no queue, no silence."""

from __future__ import annotations

import numpy as np

from adaptation.arrays import FloatArray
from adaptation.decision import Decision
from adaptation.plan import Choice, Route
from adaptation.snapshot import DEFAULT_BASE_RTT_S, Past, Snapshot
from adaptation.worth import usable

GUESS_BPS = 2e6
"""The rate taken before anything was measured, and after `STALE_S` without a finished upload."""
STALE_S = 5.0
LEAST_S = 0.002
"""An upload that seems to have taken less than this says nothing more."""


def rates_bps(snapshot: Snapshot, most: int) -> FloatArray:
    """Rates of the last finished uploads, the oldest first; `GUESS_BPS` alone where there are none."""
    since_s = snapshot.now_s - STALE_S
    found = [
        8.0 * past.message_bytes / max(_upload_s(snapshot, past), LEAST_S)
        for past in snapshot.recent
        if past.answered and past.message_bytes > 0.0 and past.ended_s > since_s
    ]  # fmt: skip
    return np.array(found[-most:] or [GUESS_BPS])


def _upload_s(snapshot: Snapshot, past: Past) -> float:
    return past.ended_s - past.sent_s - past.tier_s - round_trip_s(snapshot, past.choice.route)


def round_trip_s(snapshot: Snapshot, route: Route) -> float:
    """The route's round trip without queueing."""
    return DEFAULT_BASE_RTT_S if snapshot.uplink is None else snapshot.uplink.base_rtt_s.get(route, DEFAULT_BASE_RTT_S)


def latencies_s(snapshot: Snapshot, rate_bps: float) -> FloatArray:
    """[options]: seconds from now to the answer if the uplink is empty and has this rate; infinite where impossible."""
    columns = snapshot.plan.columns
    start_s = max(snapshot.device_free_s - snapshot.now_s, 0.0)
    trips_s = np.array([
        (0.0 if route is Route.DEVICE else round_trip_s(snapshot, route)) if usable(snapshot, route) else np.inf
        for route in columns.routes
    ])  # fmt: skip
    seconds: FloatArray = start_s + columns.device_s + 8.0 * columns.message_bytes / rate_bps
    seconds += columns.tier_s + trips_s[columns.route]
    return seconds


def chosen(snapshot: Snapshot, place: int, latency_s: float, reason: str) -> Decision:
    """A decision whose prediction is one number."""
    left_s = max(snapshot.deadline_s - snapshot.now_s, 0.0)
    choice: Choice = snapshot.plan[place].choice
    return Decision(choice, min(latency_s, left_s), float(latency_s <= left_s), reason)
