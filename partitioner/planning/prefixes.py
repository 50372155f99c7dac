"""The enumerated cuts: every prefix of the execution order, for every boundary, with all their figures at once.

The device runs a prefix, the next tier a longer prefix less the device's, the last tier the rest. Any number of tensors
may cross. An additive figure of the pair (p, q) is a[p] + b[q], so the best pair is found in linear time and a whole
table of figures is one outer sum.
"""

from __future__ import annotations

import numpy as np

from partitioner.planning.figures import Additive, Tiers
from partitioner.planning.network import Floats, Setting


class Prefixes:
    """All prefix cuts of a setting. Inputs always lie in front, so prefixes are counted from them on.

    A table of figures has one axis per boundary, [prefixes] or [prefixes, prefixes]; where the second prefix would be
    shorter than the first it holds infinity. One entry without axes for a single tier.
    """

    def __init__(self, setting: Setting) -> None:
        inputs = setting.inputs
        self._order = np.concatenate([np.flatnonzero(inputs), np.flatnonzero(~inputs)])
        self._first = int(inputs.sum())
        self._boundaries = setting.boundaries
        count = len(self._order)
        place = np.empty(count, np.intp)
        place[self._order] = np.arange(count)
        self._last = place[setting.last_reader][self._order]
        self._impossible = np.tril(np.ones((count + 1 - self._first,) * 2, np.bool_), -1) if count else None

    def parts(self, cost: Additive) -> tuple[float, list[Floats]]:
        """A constant, and per boundary what each prefix adds: the figure is their sum."""
        operator = cost.operator[self._order]
        count = len(operator)
        axes = []
        for boundary in range(self._boundaries):
            saved = operator[:, boundary] - operator[:, boundary + 1]
            # A tensor crosses prefix p when it is made at p - 1 or before and read at p or behind.
            tensor = cost.tensor[self._order, boundary]
            crossing = np.concatenate([[0.0], tensor]) - np.bincount(self._last + 1, tensor, count + 1)
            used = np.full(count + 1, cost.used[boundary])
            used[count] = 0.0
            axis = np.concatenate([[0.0], np.cumsum(saved)]) + np.cumsum(crossing) + used
            axes.append(axis[self._first :])
        return float(operator[:, -1].sum()), axes

    def table(self, cost: Additive) -> Floats:
        """The figure of every prefix cut."""
        constant, axes = self.parts(cost)
        if self._boundaries == 0:
            return np.array(constant)
        if self._boundaries == 1:
            return axes[0] + constant
        table = axes[0][:, None] + (axes[1] + constant)[None, :]
        assert self._impossible is not None
        table[self._impossible] = np.inf
        return table

    def best(self, cost: Additive) -> tuple[float, tuple[int, ...]]:
        """Least value of a figure and the place in the table where it is, without making the table."""
        constant, axes = self.parts(cost)
        if not axes:
            return constant, ()
        if len(axes) == 1:
            place = int(axes[0].argmin())
            return constant + float(axes[0][place]), (place,)
        first, second = axes
        behind = np.minimum.accumulate(second[::-1])[::-1]
        place = int((first + behind).argmin())
        other = place + int(second[place:].argmin())
        return constant + float(first[place] + second[other]), (place, other)

    def tiers_at(self, place: tuple[int, ...]) -> Tiers:
        """The assignment at a place in the table."""
        tiers = np.zeros(len(self._order), np.intp)
        for prefix in place:
            tiers[self._order[self._first + prefix :]] += 1
        return tiers
