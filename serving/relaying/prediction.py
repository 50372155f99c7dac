"""How long each way of going on with a frame should take. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from adaptation.arrays import FloatArray
from adaptation.plan import CLOG_S, Route
from adaptation.snapshot import LinkEstimate
from protocol.messages import Handover

OVERHEAD_BYTES: Final = 100
"""What message and stream headers add to a payload."""
_WORTH: Final = 0.9
"""Another way than the one asked for is taken where it takes less than this, relative to that one."""
_WORTH_S: Final = 0.0005
"""... and is at least so much quicker: shorter times are within the error of the figures."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to go on with a frame.

    Attributes:
        handover: where it leaves this tier and at which level; None where this tier finishes it.
        here_s: seconds of this tier for it, waiting for a thread included.
        payload_bytes: what goes up; 0 where it is finished here.
        above_s: seconds of the tier above, without waiting there; 0 where it is finished here.
    """

    handover: Handover | None
    here_s: float
    payload_bytes: float = 0.0
    above_s: float = 0.0


def expected_s(ways: Sequence[Way], link: LinkEstimate, above_wait_s: float, now_s: float) -> FloatArray:
    """Seconds until the answer of each way is here, expected over the belief about the link: float64 [ways].

    A rate at which a message would take longer than `CLOG_S` counts as that: such a link is given up or changes. A
    round trip that nobody has measured counts as none, so that it is.

    Args:
        ways: at least one.
        link: to the tier above.
        above_wait_s: how long a frame would wait in the tier above.
        now_s: on the clock of `link`.
    """
    here_s = np.array([way.here_s for way in ways])
    bits = 8.0 * np.array([way.payload_bytes + OVERHEAD_BYTES for way in ways])
    departs_s = np.maximum((now_s + here_s)[:, None], link.free_s) + np.divide.outer(bits, link.rates_bps)
    crossing_s = np.minimum(departs_s - (now_s + here_s)[:, None], CLOG_S) @ link.weights
    beyond_s = link.base_rtt_s.get(Route.CLOUD, 0.0) + above_wait_s
    up_s = np.array([way.above_s for way in ways]) + crossing_s + beyond_s
    found: FloatArray = here_s + np.where([way.handover is not None for way in ways], up_s, 0.0)
    return found


def quickest(ways: Sequence[Way], seconds: FloatArray) -> Way:
    """The way to take: the first, which is the one asked for, unless another is clearly quicker."""
    best = int(seconds.argmin())
    asked_s, best_s = float(seconds[0]), float(seconds[best])
    return ways[best] if best_s < _WORTH * asked_s and best_s < asked_s - _WORTH_S else ways[0]
