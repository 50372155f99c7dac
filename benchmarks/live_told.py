"""What a run over a link came to, live or simulated, in the figures that the two are compared by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adaptation.plan import Choice, Route
from testbed.figures import in_time, latency_of


@dataclass(frozen=True, slots=True)
class Told:
    """Attributes:
    mean_latency_s: an unanswered frame counts with its deadline.
    missed: share of frames not answered in time.
    bytes_per_frame: sent for frames; probes apart.
    choices: share of frames for each (cut, level, route) that was chosen, None for none.
    """

    mean_latency_s: float
    missed: float
    bytes_per_frame: float
    choices: Mapping[Choice | None, float]


def told_of(history: Sequence[Mapping[str, Any]], captured: int) -> Told:
    """Of the lines of a device's history.

    Args:
        captured: frames in all; those without a line count as missed.
    """
    counts = Counter(_choice(line) for line in history)
    return Told(
        float(np.mean([latency_of(line) for line in history])),
        1.0 - sum(in_time(line) for line in history) / captured,
        sum(line["message_bytes"] for line in history) / captured,
        {choice: count / counts.total() for choice, count in counts.items()},
    )


def apart(one: Told, other: Told) -> float:
    """How far apart the choices are: half the sum of the differences of their shares, 0 to 1."""
    every = {*one.choices, *other.choices}
    return 0.5 * sum(abs(one.choices.get(choice, 0.0) - other.choices.get(choice, 0.0)) for choice in every)


def _choice(line: Mapping[str, Any]) -> Choice | None:
    return None if line["route"] is None else Choice(line["cut"], line["level"], Route(line["route"]))
