"""The exact optimum of an additive cost, as a minimum cut (Hu et al., DADS, INFOCOM 2019, extended to two boundaries).

One vertex per operator and boundary says on which side of that boundary the operator runs. What an operator costs is an
arc from the source or to the sink; a tensor that crosses is an arc to a vertex of its own, which all of its readers
force to the far side, so that it is paid once; infinite arcs keep tensors from flowing back, and the second boundary
behind the first (Ishikawa, 2003: costs over an ordered set of labels). The cheapest cut of this graph is the cheapest
assignment.

scipy's maximum flow takes 32-bit capacities. So it runs twice: first on capacities rounded down, then on what the first
flow left over, which is known to be tiny and is scaled up again. The rest is below double precision.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from partitioner.planning.figures import Additive, Tiers
from partitioner.planning.network import Setting

_UNITS = 1 << 29
"""Capacities become integers up to this: scipy adds a capacity and a flow in 32 bits."""


class CutGraph:
    """The arcs that do not depend on costs, made once per setting, and the optimum for any additive cost."""

    def __init__(self, setting: Setting) -> None:
        self._count, self._boundaries = len(setting.operators), setting.boundaries
        self._inputs = np.flatnonzero(setting.inputs)
        self._pairs = setting.pairs

    def cheapest(self, cost: Additive, known: Tiers, value: float) -> Tiers:
        """The assignment of least cost.

        Args:
            known: some assignment, returned where none is cheaper; the better, the finer the arithmetic.
            value: its cost.
        """
        tails, heads, capacities, constant = self._arcs(cost)
        if value - constant <= 1e-12 * abs(value):  # what every assignment costs: there is nothing to gain
            return known
        # An arc as expensive as a known answer is never cut by a cheaper one: that is infinity.
        limit = (value - constant) * (1 + 1e-9)
        beyond = _far_side(tails, heads, np.minimum(capacities, limit), limit, self._vertices)
        sides = np.stack([beyond[boundary * self._count :][: self._count] for boundary in range(self._boundaries)])
        return np.asarray(sides.sum(axis=0), np.intp)

    @property
    def _vertices(self) -> int:
        """Operators per boundary, tensors per boundary, one "in use" per boundary, source and sink."""
        return self._boundaries * (2 * self._count + 1) + 2

    @cached_property
    def _fixed(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Infinite arcs (u, v): v beyond while u is not, never happens."""
        count, boundaries = self._count, self._boundaries
        source = self._vertices - 2
        readers, reads = self._pairs[:, 1], self._pairs[:, 0]
        tails, heads = [], []
        for boundary in range(boundaries):
            here, tensors = boundary * count, (boundaries + boundary) * count
            tails += [here + readers, tensors + reads, np.full(len(self._inputs), source)]
            heads += [here + reads, here + readers, here + self._inputs]
            tails.append(np.full(count, 2 * boundaries * count + boundary))
            heads.append(here + np.arange(count))
        for boundary in range(boundaries - 1):
            tails.append(boundary * count + np.arange(count))
            heads.append((boundary + 1) * count + np.arange(count))
        return np.concatenate(tails), np.concatenate(heads)

    def _arcs(self, cost: Additive) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], float]:
        count, boundaries = self._count, self._boundaries
        source, sink = self._vertices - 2, self._vertices - 1
        operators = np.arange(count)
        tails, heads = list(self._fixed[:1]), list(self._fixed[1:])
        capacities = [np.full(len(tails[0]), np.inf)]
        constant = float(cost.operator[:, 0].sum())
        for boundary in range(boundaries):
            here, tensors = boundary * count, (boundaries + boundary) * count
            more = cost.operator[:, boundary + 1] - cost.operator[:, boundary]
            more = np.where(np.isin(operators, self._inputs), 0.0, more)
            constant += float(np.minimum(more, 0.0).sum())
            tails += [np.full(count, source), here + operators, here + operators]
            heads += [here + operators, np.full(count, sink), tensors + operators]
            capacities += [np.maximum(more, 0.0), np.maximum(-more, 0.0), cost.tensor[:, boundary]]
            tails.append(np.array([source]))
            heads.append(np.array([2 * boundaries * count + boundary]))
            capacities.append(cost.used[boundary : boundary + 1])
        return np.concatenate(tails), np.concatenate(heads), np.concatenate(capacities), constant


def _far_side(
    tails: NDArray[np.int64], heads: NDArray[np.int64], capacities: NDArray[np.float64], limit: float, vertices: int
) -> NDArray[np.bool_]:
    """Which vertices lie on the sink's side of a minimum cut."""
    left = sparse.csr_array((capacities, (tails, heads)), shape=(vertices, vertices))
    left.data = np.minimum(left.data, limit)
    left.eliminate_zeros()
    whole, left = _pushed(left, limit)
    # Each arc's rounding held back at most one unit of the first flow.
    limit = limit / _UNITS * max(left.nnz, 1)
    left.data = np.minimum(left.data, limit)
    whole, left = _pushed(left, limit)
    open_arcs = (whole > 0).astype(np.int8)
    reached = csgraph.breadth_first_order(open_arcs, vertices - 2, return_predecessors=False)
    far = np.ones(vertices, np.bool_)
    far[reached] = False
    return far


def _pushed(left: Any, limit: float) -> tuple[Any, Any]:
    """A maximum flow on rounded capacities: what it leaves, in whole units and exactly."""
    rounded = left.copy()
    rounded.data = np.floor(left.data * (_UNITS / limit)).astype(np.int32)
    flow = csgraph.maximum_flow(rounded, left.shape[0] - 2, left.shape[0] - 1).flow
    exact = left - sparse.csr_array(flow) * (limit / _UNITS)
    exact.data = np.maximum(exact.data, 0.0)
    return rounded - flow, exact
