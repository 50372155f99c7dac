"""Random settings, and every assignment of a small one: the truth that plans are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from partitioner.planning.network import Link, Operator, Setting, Tier

MOST_SIDES = 700
"""Ways to split a random network in two, so that pairs of them can be enumerated too."""


def random_setting(generator: np.random.Generator, tiers: int, most: int = 14) -> Setting:
    """Up to `most` operators, inputs and results included, in any shape that a directed acyclic graph may have."""
    while True:
        count = int(generator.integers(2, most + 1))
        inputs = int(generator.integers(1, min(3, count)))
        density = generator.uniform(0.05, 0.6)
        operators = []
        for position in range(count):
            reads = {int(read) for read in np.flatnonzero(generator.random(position) < density)}
            if position >= inputs and not reads:
                reads = {int(generator.integers(max(0, position - 2), position))}
            first = 0.0 if position < inputs else float(generator.exponential(0.01))
            operators.append(
                Operator(
                    name=f"operator {position}",
                    reads=tuple(sorted(reads)) if position >= inputs else (),
                    seconds=tuple(first / speed for speed in (1.0, *generator.uniform(1.5, 30.0, 2))[:tiers]),
                    tensor_bytes=float(generator.exponential(5e4)),
                    weight_bytes=float(generator.exponential(1e5)),
                    result_bytes=float(generator.exponential(1e3)) if generator.random() < 0.2 else 0.0,
                )
            )
        if len(sides(operators)) <= MOST_SIDES:
            break
    return Setting(
        operators=tuple(operators),
        tiers=tuple(Tier(f"tier {tier}", float(generator.uniform(0, 5))) for tier in range(tiers)),
        links=tuple(
            Link(
                rate_bps=float(10 ** generator.uniform(5.5, 8.5)),
                delay_s=float(generator.exponential(0.004)),
                joules_per_byte=float(generator.exponential(1e-6)),
            )
            for _ in range(tiers - 1)
        ),
    )


def sides(operators: list[Operator] | tuple[Operator, ...]) -> NDArray[np.bool_]:
    """[sides, operators]: every set that holds the inputs and, with an operator, all that it reads."""
    found = np.ones((1, 0), np.bool_)
    for operator in operators:
        near = found[found[:, list(operator.reads)].all(axis=1)]
        far = found if operator.reads else found[:0]
        found = np.concatenate([np.insert(near, near.shape[1], True, 1), np.insert(far, far.shape[1], False, 1)])
        if len(found) > 4 * MOST_SIDES:
            break
    return found


@dataclass(frozen=True)
class Everything:
    """Figures of every assignment of a setting, as one vector per figure."""

    tiers: NDArray[np.intp]
    """[assignments, operators]"""
    figures: dict[str, NDArray[np.float64]]

    def place_of(self, tiers: tuple[int, ...]) -> int:
        """Where an assignment is in these vectors."""
        places = np.flatnonzero((self.tiers == tiers).all(axis=1))
        assert len(places) == 1
        return int(places[0])


def assignments(setting: Setting) -> NDArray[np.intp]:
    """[assignments, operators]: the tier of each, from every chain of nested sides."""
    near = sides(setting.operators)
    if setting.boundaries == 1:
        return (~near).astype(np.intp)
    nested = (near.astype(np.intp) @ (~near).astype(np.intp).T) == 0  # nothing of the first lies outside the second
    first, second = np.nonzero(nested)
    return (~near[first]).astype(np.intp) + ~near[second]


def assignments_by_trying(setting: Setting) -> set[tuple[int, ...]]:
    """The same by trying every way to give operators tiers."""
    kept = set()
    for tiers in product(range(len(setting.tiers)), repeat=len(setting.operators)):
        if all(
            all(tiers[read] <= tiers[position] for read in one.reads) and (one.reads or not tiers[position])
            for position, one in enumerate(setting.operators)
        ):
            kept.add(tiers)
    return kept


def everything(setting: Setting) -> Everything:
    """All assignments with figures counted one operator and one tensor at a time."""
    tiers = assignments(setting)
    count = len(tiers)
    names = [f"tier_{tier}_s" for tier in range(len(setting.tiers))]
    names += [f"link_{link}_s" for link in range(setting.boundaries)]
    figures = {name: np.zeros(count) for name in (*names, "delay_s", "bytes", "joules", "memory_bytes")}
    for position, operator in enumerate(setting.operators):
        own = tiers[:, position]
        readers = [reader for reader, one in enumerate(setting.operators) if position in one.reads]
        furthest = np.maximum(own, tiers[:, readers].max(axis=1)) if readers else own
        for tier, machine in enumerate(setting.tiers):
            figures[f"tier_{tier}_s"] += np.where(own == tier, operator.seconds[tier], 0.0)
            figures["joules"] += np.where(own == tier, operator.seconds[tier] * machine.watts, 0.0)
        figures["memory_bytes"] += np.where(own == 0, operator.weight_bytes, 0.0)
        for boundary, link in enumerate(setting.links):
            sent = np.where((own <= boundary) & (furthest > boundary), operator.tensor_bytes, 0.0)
            back = np.where(own > boundary, operator.result_bytes, 0.0)
            figures[f"link_{boundary}_s"] += sent * 8 / link.rate_bps + back * 8 / (link.down_bps or link.rate_bps)
            figures["bytes"] += sent
            figures["joules"] += sent * link.joules_per_byte
    for boundary, link in enumerate(setting.links):
        figures["delay_s"] += np.where(tiers.max(axis=1) > boundary, 2 * link.delay_s, 0.0)
    figures["latency_s"] = sum((figures[name] for name in names), figures["delay_s"].copy())
    return Everything(tiers, figures)
