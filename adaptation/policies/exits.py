"""The early exit that policies may ask before a frame is sent."""

from __future__ import annotations

from adaptation.plan import Option
from adaptation.snapshot import Snapshot


def first_exit(snapshot: Snapshot) -> tuple[Option, float] | None:
    """The earliest exit, and the seconds of its classifier; None without one: the last of the device's own answers is
    no exit."""
    plan = snapshot.plan
    own = sorted((plan[place] for place in plan.columns.local), key=lambda one: one.choice.cut)
    if len(own) < 2:
        return None
    heads = [one.reached_s for one in plan if one.choice.remote and one.choice.cut == own[0].choice.cut]
    return own[0], max(own[0].device_s - min(heads), 0.0) if heads else 0.0
