"""One measured figure beside its target, and the frame around a benchmark's figures."""

from __future__ import annotations

import os
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with what it is held against.

    Attributes:
        name: what was measured.
        value: the median of the runs.
        unit: of value and target.
        target: the bound that the project promises, None where it promises nothing.
        bound: whether the target is a least or a greatest value.
        against: what it is compared with.
        runs: how often it was measured.
        spread: (largest - smallest) / 2 of the runs.
    """

    name: str
    value: float
    unit: str
    target: float | None = None
    bound: Literal["at most", "at least", "below", "above"] = "at most"
    against: str = ""
    runs: int = 1
    spread: float = 0.0
    holds: bool | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "holds", self._holds())

    def _holds(self) -> bool | None:
        if self.target is None:
            return None
        if self.bound == "at most":
            return self.value <= self.target
        if self.bound == "at least":
            return self.value >= self.target
        return self.value < self.target if self.bound == "below" else self.value > self.target

    @classmethod
    def of_runs(
        cls,
        name: str,
        values: Sequence[float],
        unit: str,
        target: float | None = None,
        bound: Literal["at most", "at least", "below", "above"] = "at most",
        against: str = "",
    ) -> Figure:
        """The median of several runs."""
        spread = (max(values) - min(values)) / 2
        return cls(name, statistics.median(values), unit, target, bound, against, len(values), spread)


def environment() -> dict[str, str | int]:
    """What the figures were measured on."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count() or 1,
        "implementation": sys.implementation.name,
    }


def as_object(benchmark: str, figures: Sequence[Figure]) -> dict[str, object]:
    """The JSON object of a benchmark."""
    return {"benchmark": benchmark, "environment": environment(), "figures": [asdict(figure) for figure in figures]}
