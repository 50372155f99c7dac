"""The oracle: the best that anybody could have done on a link known in advance, without knowing the labels.

A dynamic program over what a choice leaves behind: when the device is free, and up to where the uplink's queue has
promised its supply. Of two states one is dropped only if the other is free no later, has promised no more and is worth
as much; being earlier never hurts, since frames can be given up. So the answer is exact up to `tolerance`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from adaptation.plan import Choice, Option, Plan
from testbed.simulation.conditions import Conditions
from testbed.simulation.supply import FloatArray

SEED_STATES = 32
PAIRWISE = 1200
"""States compared all with all at once; more are compared with the best first."""


@dataclass(frozen=True, slots=True)
class Foreseen:
    """Mean utility of a frame under the best sequence of choices, and that sequence (None: give the frame up)."""

    utility: float
    choices: tuple[Choice | None, ...]


@dataclass(slots=True)
class _States:
    free_s: FloatArray
    promised: FloatArray
    worth: FloatArray
    parent: NDArray[np.intp]
    option: NDArray[np.intp]

    def at(self, kept: NDArray[np.intp] | NDArray[np.bool_]) -> _States:
        return _States(self.free_s[kept], self.promised[kept], self.worth[kept], self.parent[kept], self.option[kept])


def foresee(given: Conditions, *, tolerance: float = 1e-4) -> Foreseen:
    """Plan all frames of a run at once.

    Args:
        given: the conditions; slowdown, jitter and the tiers' states are not foreseen but taken as none.
        tolerance: how much worth of a frame may be lost by dropping states that are nearly as good.
    """
    given = replace(given, plan=undominated(given))
    count = round(given.seconds / given.interval_s)
    captured_s = [round(k * given.interval_s, 9) for k in range(count)] + [float("inf")]
    nothing, nobody = np.zeros(1), np.zeros(1, dtype=np.intp)
    states = _States(nothing, nothing, nothing, nobody, nobody)
    history: list[tuple[NDArray[np.intp], NDArray[np.intp]]] = []
    for index in range(count):
        after = _expand(given, states, captured_s[index], captured_s[index + 1])
        if index + 1 < count:
            after.free_s = np.maximum(after.free_s, captured_s[index + 1])
            after.promised = np.maximum(after.promised, given.supply.at_each(after.free_s))
        states = _undominated(after, tolerance)
        history.append((states.parent, states.option))
    return Foreseen(float(states.worth.max()) / count, _path(given, history, int(states.worth.argmax())))


def undominated(given: Conditions) -> Plan:
    """The options that can be the best: a choice that is no better than another in anything is never needed."""
    rows = [(one.device_s, one.message_bytes, _beyond_s(given, one), -one.accuracy) for one in given.plan]

    def useless(place: int) -> bool:
        own = rows[place]
        return any(
            all(a <= b for a, b in zip(row, own, strict=True)) and (row != own or other < place)
            for other, row in enumerate(rows)
            if other != place
        )

    return Plan(tuple(option for place, option in enumerate(given.plan) if not useless(place)))


def _beyond_s(given: Conditions, option: Option) -> float:
    """Seconds from an option's last byte to its answer; 0 for a device answer."""
    if not option.choice.remote:
        return 0.0
    return 2.0 * given.one_way_s + given.extra_s.get(option.choice.route, 0.0) + option.tier_s


def _expand(given: Conditions, states: _States, captured_s: float, next_s: float) -> _States:
    """All that can follow from each state by what is done with one frame."""
    every = np.arange(states.free_s.size)
    found = [_States(states.free_s, states.promised, states.worth, every, np.full(every.size, -1))]
    start_s = np.maximum(states.free_s, captured_s)
    able = start_s < next_s
    columns = given.plan.columns
    deadline_s = captured_s + given.deadline_s
    for place, option in enumerate(given.plan):
        done_s = start_s + columns.device_s[place]
        if not option.choice.remote:
            taken = able & (done_s <= deadline_s + 1e-9)
            promised = states.promised
        else:
            promised = np.maximum(states.promised, given.supply.at_each(done_s)) + columns.message_bytes[place]
            taken = able & (given.supply.when_each(promised) + _beyond_s(given, option) <= deadline_s + 1e-9)
        if taken.any():
            chosen = np.full(int(taken.sum()), place)
            worth = states.worth[taken] + option.accuracy
            found.append(_States(done_s[taken], promised[taken], worth, every[taken], chosen))
    return _States(
        *(np.concatenate([getattr(one, name) for one in found]) for name in ("free_s", "promised", "worth")),
        *(np.concatenate([getattr(one, name) for one in found]) for name in ("parent", "option")),
    )


def _undominated(states: _States, tolerance: float) -> _States:
    order = np.lexsort((states.promised, states.free_s, -states.worth))
    states = states.at(order)
    while states.worth.size > PAIRWISE:
        before = states.worth.size
        seeds = states.at(np.arange(SEED_STATES))
        rest = states.at(np.arange(SEED_STATES, before))
        rest = rest.at(~_dominated(rest, seeds, tolerance))
        states = _States(*(np.concatenate((getattr(seeds, n), getattr(rest, n))) for n in _States.__slots__))
        if states.worth.size > before // 2:
            break
    kept = np.ones(states.worth.size, dtype=bool)
    for first in range(0, states.worth.size, PAIRWISE):
        block = np.arange(first, min(first + PAIRWISE, states.worth.size))
        block = block[kept[block]]
        inside = _earlier_dominate(states.at(block), tolerance)
        kept[block[inside]] = False
        block = block[~inside]
        later = np.arange(first + PAIRWISE, states.worth.size)
        later = later[kept[later]]
        if later.size:
            kept[later[_dominated(states.at(later), states.at(block), tolerance)]] = False
    return states.at(kept)


def _dominated(these: _States, by: _States, tolerance: float) -> NDArray[np.bool_]:
    """[these]: whether some state of `by` is as good in everything."""
    worse = by.free_s[:, None] <= these.free_s
    worse &= by.promised[:, None] <= these.promised
    worse &= by.worth[:, None] >= these.worth - tolerance
    dominated: NDArray[np.bool_] = worse.any(axis=0)
    return dominated


def _earlier_dominate(states: _States, tolerance: float) -> NDArray[np.bool_]:
    """[states], sorted by worth: whether an undominated earlier one is as good."""
    worse = states.free_s[:, None] <= states.free_s
    worse &= states.promised[:, None] <= states.promised
    worse &= np.triu(np.ones(worse.shape, dtype=bool), 1)
    dominated: NDArray[np.bool_] = worse.any(axis=0)
    return dominated


def _path(
    given: Conditions, history: list[tuple[NDArray[np.intp], NDArray[np.intp]]], last: int
) -> tuple[Choice | None, ...]:
    chosen: list[Choice | None] = []
    for parent, option in reversed(history):
        place = int(option[last])
        chosen.append(None if place < 0 else given.plan[place].choice)
        last = int(parent[last])
    return tuple(reversed(chosen))
