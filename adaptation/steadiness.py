"""Whether a link shows any sign of moving: one rate explains all that came back of late.

A belief is about as wide on a link that stands still as on one that moves, since it has to allow for what may come.
What tells them apart is the past: on a link that stands still, answers came when one and the same rate says so.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from adaptation.snapshot import DEFAULT_BASE_RTT_S, LinkEstimate, Past, Snapshot

SPAN_S = 2.0
"""How far back it is looked."""
FEWEST = 8
"""So many answers have to have come in that time."""
APART_S, APART = 0.004, 0.2
"""How far a message's time may lie from what the rate says: so long, or so large a share of it ..."""
EXPLAINED = 0.75
"""... for this share of the messages. Others had bytes before them of which nothing is heard: those of frames that were
given up."""


def stands_still(snapshot: Snapshot) -> bool:
    """Whether one rate explains when the answers of the last `SPAN_S` came. Pure.

    A message begins to leave when it was sent, or when the one before it has left; what its answer took beyond the
    round trip and the tier's own time is its time on the uplink.
    """
    if snapshot.uplink is None:
        return False
    messages = _sending_s(snapshot.recent, snapshot.uplink, snapshot.now_s - SPAN_S)
    if len(messages) < FEWEST:
        return False
    pace = statistics.median(taken_s / size for size, taken_s in messages)
    explained = sum(abs(taken_s - pace * size) <= max(APART_S, APART * taken_s) for size, taken_s in messages)
    return explained >= EXPLAINED * len(messages)


def _sending_s(recent: Iterable[Past], uplink: LinkEstimate, since_s: float) -> list[tuple[float, float]]:
    """Of each message that was answered since then, its bytes and its seconds on the uplink."""
    free_s = float("-inf")
    messages = []
    for past in recent:
        if past.answered and past.choice.remote:
            left_s = past.ended_s - past.tier_s - uplink.base_rtt_s.get(past.choice.route, DEFAULT_BASE_RTT_S)
            if past.ended_s >= since_s and past.message_bytes > 0.0:
                messages.append((past.message_bytes, left_s - max(past.sent_s, free_s)))
            free_s = left_s
    return messages
