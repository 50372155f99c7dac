"""What a plan is made from: a network of operators with their costs on every tier, and the links between the tiers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from partitioner.errors import InvalidSetting

Floats = NDArray[np.float64]
Source = Literal["measured", "predicted", "declared"]
"""Where a figure comes from: a clock on that machine, a model of that machine, or a person."""


@dataclass(frozen=True, slots=True)
class Operator:
    """One node of a network. Figures are for one item.

    Attributes:
        reads: positions of the operators whose tensor it takes; all lie in front of it.
        seconds: on each tier, from the device upwards.
        tensor_bytes: of its output. Sent once over a link however many operators behind it read it.
        weight_bytes: what has to be in memory wherever it runs.
        result_bytes: of what the caller gets from it, 0 for an inner operator. Comes back to the device.
    """

    name: str
    reads: tuple[int, ...]
    seconds: tuple[float, ...]
    tensor_bytes: float
    weight_bytes: float = 0.0
    result_bytes: float = 0.0


@dataclass(frozen=True, slots=True)
class Tier:
    """A machine of the chain. `watts` is what computing adds; leave 0 where energy is not the goal's concern."""

    name: str
    watts: float = 0.0
    source: Source = "declared"
    """Where the operators' seconds on this tier come from."""


@dataclass(frozen=True, slots=True)
class Link:
    """From one tier up to the next. `delay_s` is one way and is paid twice, for the answer comes back."""

    rate_bps: float
    delay_s: float = 0.0
    down_bps: float | None = None
    """Of the way back; None: as fast as the way up."""
    joules_per_byte: float = 0.0
    source: Source = "declared"
    hop_s: float = 0.0
    """What the programs at its ends need for a frame besides: paid once."""

    @property
    def round_trip_s(self) -> float:
        """What using it costs, however little is sent."""
        return 2 * self.delay_s + self.hop_s


@dataclass(frozen=True)
class Setting:
    """A network on a chain of tiers: the question that a plan answers.

    Operators that read nothing are the inputs and stay on the device. A tensor flows only upwards, from the device
    towards the cloud, and only the results come back.

    Attributes:
        operators: in an order in which they can run.
        tiers: from the device upwards, 1 to 3.
        links: `links[k]` joins `tiers[k]` and `tiers[k + 1]`.

    Raises:
        InvalidSetting: numbers that do not fit together, are negative or not finite.
    """

    operators: tuple[Operator, ...]
    tiers: tuple[Tier, ...]
    links: tuple[Link, ...]
    seconds: Floats = field(init=False, repr=False, compare=False)
    """[operators, tiers]"""
    tensor_bytes: Floats = field(init=False, repr=False, compare=False)
    weight_bytes: Floats = field(init=False, repr=False, compare=False)
    result_bytes: Floats = field(init=False, repr=False, compare=False)
    last_reader: NDArray[np.intp] = field(init=False, repr=False, compare=False)
    """Position of the last operator that reads each tensor; its own position where none does."""
    pairs: NDArray[np.intp] = field(init=False, repr=False, compare=False)
    """[pairs, 2]: each tensor and each of its readers once."""

    def __post_init__(self) -> None:
        self._check_chain()
        for position, operator in enumerate(self.operators):
            if len(operator.seconds) != len(self.tiers):
                raise InvalidSetting(
                    f"operator {operator.name!r} has seconds for {len(operator.seconds)} tiers and there are "
                    f"{len(self.tiers)}; give one figure per tier"
                )
            if any(not 0 <= read < position for read in operator.reads):
                raise InvalidSetting(f"operator {operator.name!r} reads one that runs later; sort the operators")
        columns: dict[str, Sequence[object]] = {
            "seconds": [operator.seconds for operator in self.operators],
            "tensor_bytes": [operator.tensor_bytes for operator in self.operators],
            "weight_bytes": [operator.weight_bytes for operator in self.operators],
            "result_bytes": [operator.result_bytes for operator in self.operators],
        }
        for name, column in columns.items():
            object.__setattr__(self, name, self._column(name, column))
        pairs = [(read, reader) for reader, one in enumerate(self.operators) for read in sorted(set(one.reads))]
        object.__setattr__(self, "pairs", np.array(pairs, np.intp).reshape(-1, 2))
        last = np.arange(len(self.operators))
        np.maximum.at(last, self.pairs[:, 0], self.pairs[:, 1])
        object.__setattr__(self, "last_reader", last)

    def _check_chain(self) -> None:
        if not self.operators or not 1 <= len(self.tiers) <= 3 or len(self.links) != len(self.tiers) - 1:
            raise InvalidSetting(
                f"a setting has operators, one to three tiers and a link between neighbours; got {len(self.operators)} "
                f"operators, {len(self.tiers)} tiers and {len(self.links)} links"
            )
        for link in self.links:
            rates = (link.rate_bps, link.rate_bps if link.down_bps is None else link.down_bps)
            if not all(0 < rate < float("inf") for rate in rates) or not 0 <= link.delay_s < float("inf"):
                raise InvalidSetting(f"{link} needs rates above 0 and a delay of at least 0")

    def _column(self, name: str, values: Sequence[object]) -> Floats:
        column = np.asarray(values, np.float64)
        wrong = np.argwhere(~(np.isfinite(column) & (column >= 0)))
        if len(wrong):
            operator = self.operators[wrong[0][0]]
            raise InvalidSetting(
                f"{name} of operator {operator.name!r} must be finite and at least 0; measure it again"
            )
        column.setflags(write=False)
        return column

    @property
    def boundaries(self) -> int:
        return len(self.links)

    @property
    def inputs(self) -> NDArray[np.bool_]:
        """Which operators are inputs."""
        return np.array([not operator.reads for operator in self.operators])
