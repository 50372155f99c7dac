"""What an assignment costs. Every figure is additive: a sum over operators, over tensors that cross, over links in use.

An assignment gives each operator a tier, never a lower one than the operators that it reads from. Additive figures can
be summed and weighted, and stay additive; that is what makes the minimum cut applicable (`minimum_cut.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from partitioner.planning.network import Floats, Setting

Tiers = NDArray[np.intp]
"""[operators]: the tier of each, 0 for the device."""


@dataclass(frozen=True, slots=True)
class Additive:
    """A cost that is a sum.

    Attributes:
        operator: [operators, tiers], paid for running an operator on a tier.
        tensor: [operators, boundaries], paid where an operator's tensor crosses a boundary.
        used: [boundaries], paid once where anything lies beyond a boundary.
    """

    operator: Floats
    tensor: Floats
    used: Floats

    def __add__(self, other: Additive) -> Additive:
        return Additive(self.operator + other.operator, self.tensor + other.tensor, self.used + other.used)

    def __mul__(self, weight: float) -> Additive:
        return Additive(self.operator * weight, self.tensor * weight, self.used * weight)

    def of(self, tiers: Tiers, furthest: Tiers) -> float:
        """The cost of one assignment; `furthest` as `furthest_readers` gives it."""
        count, boundaries = self.tensor.shape
        cost = float(self.operator[np.arange(count), tiers].sum())
        for boundary in range(boundaries):
            cost += float(self.tensor[(tiers <= boundary) & (furthest > boundary), boundary].sum())
            cost += float(self.used[boundary]) if int(tiers.max()) > boundary else 0.0
        return cost


def furthest_readers(setting: Setting, tiers: Tiers) -> Tiers:
    """For each operator the highest tier on which its tensor is needed, itself included."""
    furthest = tiers.copy()
    np.maximum.at(furthest, setting.pairs[:, 0], tiers[setting.pairs[:, 1]])
    return furthest


def figures_of(setting: Setting) -> dict[str, Additive]:
    """The additive figures of a setting, by name.

    "tier_0_s", "tier_1_s" ...: seconds of a tier; "link_0_s" ...: seconds that a link carries data, both ways
    (propagation left out); "delay_s": round trips over all links in use; "latency_s": the sum of all
    these; "bytes": on all links, upwards; "joules"; "memory_bytes": weights on the device.
    """
    figures: dict[str, Additive] = {}
    for tier in range(len(setting.tiers)):
        operator = np.zeros_like(setting.seconds)
        operator[:, tier] = setting.seconds[:, tier]
        figures[f"tier_{tier}_s"] = _additive(setting, operator=operator)
    for boundary, link in enumerate(setting.links):
        down_bps = link.rate_bps if link.down_bps is None else link.down_bps
        tensor = np.zeros((len(setting.operators), setting.boundaries))
        tensor[:, boundary] = setting.tensor_bytes * 8 / link.rate_bps
        operator = np.zeros_like(setting.seconds)
        operator[:, boundary + 1 :] = (setting.result_bytes * 8 / down_bps)[:, None]
        figures[f"link_{boundary}_s"] = _additive(setting, operator=operator, tensor=tensor)
    figures["delay_s"] = _additive(setting, used=np.array([link.round_trip_s for link in setting.links]))
    figures["latency_s"] = total(figures)
    crossing = np.repeat(setting.tensor_bytes[:, None], setting.boundaries, axis=1)
    figures["bytes"] = _additive(setting, tensor=crossing)
    watts = np.array([tier.watts for tier in setting.tiers])
    joules_per_byte = np.array([link.joules_per_byte for link in setting.links])
    figures["joules"] = _additive(setting, operator=setting.seconds * watts, tensor=crossing * joules_per_byte)
    memory = np.zeros_like(setting.seconds)
    memory[:, 0] = setting.weight_bytes
    figures["memory_bytes"] = _additive(setting, operator=memory)
    return figures


def stage_names(setting: Setting) -> list[str]:
    """The figures whose maximum limits a pipeline: tiers and links."""
    return [f"tier_{tier}_s" for tier in range(len(setting.tiers))] + [
        f"link_{boundary}_s" for boundary in range(setting.boundaries)
    ]


def total(figures: Mapping[str, Additive]) -> Additive:
    """The sum of some figures."""
    return reduce(Additive.__add__, figures.values())


def _additive(
    setting: Setting, *, operator: Floats | None = None, tensor: Floats | None = None, used: Floats | None = None
) -> Additive:
    count, boundaries = len(setting.operators), setting.boundaries
    return Additive(
        np.zeros((count, boundaries + 1)) if operator is None else operator,
        np.zeros((count, boundaries)) if tensor is None else tensor,
        np.zeros(boundaries) if used is None else used,
    )
