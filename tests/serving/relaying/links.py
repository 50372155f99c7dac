"""Beliefs about a link that are sure of one rate."""

from __future__ import annotations

import numpy as np

from adaptation.plan import Route
from adaptation.snapshot import LinkEstimate


def sure(rate_bps: float, *, rtt_s: float = 0.01, free_s: float = 0.0) -> LinkEstimate:
    """A link of exactly this rate, whose queue is empty from `free_s` on."""
    return LinkEstimate(
        rates_bps=np.array([1.0, rate_bps]),
        weights=np.array([0.0, 1.0]),
        free_s=np.array([free_s, free_s]),
        backlog_bytes=0.0,
        base_rtt_s={Route.CLOUD: rtt_s},
        jitter_s={Route.CLOUD: 0.003},
    )
