"""Every way to run a chain: which segments each tier runs, and at which level what crosses is sent. All figures of all
ways at once, as vectors; the best for a goal within limits is exact, for nothing is left out."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from partitioner.errors import InvalidSetting, NoFeasiblePlan
from partitioner.planning.chain import Chain
from partitioner.planning.dominance import undominated
from partitioner.planning.network import Floats

GOALS: dict[str, tuple[str, ...]] = {
    "latency": ("latency_s",),
    "energy": ("joules",),
    "bytes": ("bytes",),
    "throughput": ("slowest_s",),
}
"""Per goal the figure that is made small."""
AT_LEAST = ("accuracy",)
"""Figures whose limit is a least value; of all others it is a greatest one."""


@dataclass(frozen=True, slots=True)
class Hop:
    """What crosses one link: the tensor of a place at a level."""

    place: int
    level: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """Between these rates of a link, a choice is the fastest."""

    low_bps: float
    high_bps: float
    choice: int


class Choices:
    """All choices of a chain. A choice is known by its number.

    Figures, each [choices]: "latency_s" (all tiers and links, one after the other), "slowest_s" (the slowest tier or
    link: frames overlap), "joules", "bytes" (on all links, upwards), "memory_bytes" (on the device), "accuracy" (NaN
    where nobody has measured it), and the parts "tier_0_s" ..., "link_0_s" ..., "delay_s".

    Where two lossy levels are used one behind the other, what they lose is added up.
    """

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self._levels = [(place, level) for place, one in enumerate(chain.places) for level in range(len(one.levels))]
        self._place = np.array([place for place, _ in self._levels], np.intp)
        self._hops = self._enumerated()
        """[choices, links]: which of `_levels` crosses, -1 for nothing."""
        self.figures: dict[str, Floats] = self._figures()

    def __len__(self) -> int:
        return len(self._hops)

    def hops(self, choice: int) -> tuple[Hop, ...]:
        """What crosses each link in use; empty where the device answers alone."""
        return tuple(Hop(*self._levels[int(one)]) for one in self._hops[choice] if one >= 0)

    def figures_at(self, choice: int) -> dict[str, float]:
        """Every figure of one choice."""
        return {name: float(values[choice]) for name, values in self.figures.items()}

    def choose(self, goal: str, limits: Mapping[str, float] | None = None) -> int:
        """The best choice; of equal ones that of fewest bytes, then that of least latency.

        Args:
            goal: a key of `GOALS`.
            limits: largest values by figure, least ones for `AT_LEAST`: {"latency_s": 0.1, "accuracy": 0.9}.

        Raises:
            InvalidSetting: no such goal or figure.
            NoFeasiblePlan: names the limit that rules out the last choice that those in front of it leave.
        """
        if goal not in GOALS:
            raise InvalidSetting(f"there is no goal {goal!r}; choose one of {', '.join(GOALS)}")
        allowed = np.flatnonzero(self.allowed(limits or {}))
        objective = np.maximum.reduce([self.figures[name][allowed] for name in GOALS[goal]])
        order = np.lexsort((self.figures["latency_s"][allowed], self.figures["bytes"][allowed], objective))
        return int(allowed[order[0]])

    def allowed(self, limits: Mapping[str, float]) -> NDArray[np.bool_]:
        """[choices]: which keep every limit; at least one does."""
        allowed = np.ones(len(self), np.bool_)
        for name, limit in limits.items():
            if name not in self.figures:
                near = difflib.get_close_matches(name, self.figures, n=1, cutoff=0.0)[0]
                raise InvalidSetting(
                    f"there is no figure {name!r} to limit; did you mean {near!r}? ({', '.join(self.figures)})"
                )
            values, least = self.figures[name], name in AT_LEAST
            kept = allowed & (values >= limit if least else values <= limit)
            if not kept.any():
                rest = values[allowed]
                best = np.nanmax(rest) if least and np.isfinite(rest).any() else rest.min()
                raise NoFeasiblePlan(name, limit, float(best), at_least=least)
            allowed = kept
        return allowed

    def pareto(self, first: str, second: str, limits: Mapping[str, float] | None = None) -> list[int]:
        """The choices within limits that no other beats in two figures, by the first. Accuracy is made large."""
        among = np.flatnonzero(self.allowed(limits or {}))
        columns = [-self.figures[name] if name in AT_LEAST else self.figures[name] for name in (first, second)]
        known = among[np.isfinite(columns[0][among]) & np.isfinite(columns[1][among])]
        kept = undominated(np.stack([column[known] for column in columns], axis=1))
        return [int(known[index]) for index in kept]

    def best_between(
        self, link: int, low_bps: float, high_bps: float, limits: Mapping[str, float] | None = None
    ) -> list[Stretch]:
        """Which choice within limits is fastest at which rate of a link, the way up; slowest rates first.

        Latency is linear in 1 / rate: the lower envelope of one line per choice. The way back keeps its rate. Limits on
        latency are left out, for they would move with the rate.
        """
        if not 0 <= link < len(self.chain.links) or not 0 < low_bps < high_bps:
            raise InvalidSetting(f"link {link} between {low_bps:g} and {high_bps:g} bit/s is no link with an interval")
        among = np.flatnonzero(self.allowed({k: v for k, v in (limits or {}).items() if not k.endswith("_s")}))
        sent = self._sent(link)[among]
        rest = self.figures["latency_s"][among] - sent * 8 / self.chain.links[link].rate_bps
        here = _lowest(rest + sent * 8 / high_bps, sent)
        found, high = [], high_bps
        while True:
            fewer = np.flatnonzero(sent < sent[here])
            meeting = (rest[fewer] - rest[here]) / (sent[here] - sent[fewer])  # seconds per byte
            low = max(low_bps, 8 / meeting.min()) if len(fewer) and meeting.min() > 0 else low_bps
            found.append(Stretch(low, high, int(among[here])))
            if low <= low_bps:
                return found[::-1]
            here, high = int(fewer[_lowest(meeting, sent[fewer])]), low

    def _enumerated(self) -> NDArray[np.intp]:
        links = len(self.chain.links)
        ways = [np.full((1, links), -1, np.intp)]
        one = np.arange(len(self._levels))
        if links >= 1:
            ways.append(np.stack([one, *([np.full_like(one, -1)] * (links - 1))], axis=1))
        if links == 2:
            later = self._place[:, None] < self._place[None, :]
            first, second = np.nonzero(later | np.eye(len(one), dtype=bool))  # the same twice: passed on as it is
            ways.append(np.stack([first, second], axis=1))
        return np.concatenate(ways)

    def _figures(self) -> dict[str, Floats]:
        figures = {f"tier_{tier}_s": self._tier_s(tier) for tier in range(len(self.chain.tiers))}
        for number, link in enumerate(self.chain.links):
            used = self._hops[:, number] >= 0
            down_bps = link.rate_bps if link.down_bps is None else link.down_bps
            back = np.where(used, self.chain.result_bytes * 8 / down_bps, 0.0)
            figures[f"link_{number}_s"] = self._sent(number) * 8 / link.rate_bps + back
        slowest = np.maximum.reduce(list(figures.values()))
        delays = [
            np.where(self._hops[:, number] >= 0, link.round_trip_s, 0.0) for number, link in enumerate(self.chain.links)
        ]
        figures["delay_s"] = sum(delays, np.zeros(len(self)))
        figures["latency_s"] = sum(figures.values(), np.zeros(len(self)))
        figures["slowest_s"] = slowest
        figures["bytes"] = sum((self._sent(number) for number in range(len(self.chain.links))), np.zeros(len(self)))
        figures["joules"] = sum(
            (figures[f"tier_{number}_s"] * tier.watts for number, tier in enumerate(self.chain.tiers)),
            sum((self._sent(n) * link.joules_per_byte for n, link in enumerate(self.chain.links)), np.zeros(len(self))),
        )
        figures["memory_bytes"] = np.array(self.chain.memory_bytes)[self._ends(0)]
        figures["accuracy"] = self._accuracy()
        return figures

    def _ends(self, tier: int) -> NDArray[np.intp]:
        """[choices]: behind how many segments a tier stops."""
        segments = len(self.chain.seconds)
        if tier >= len(self.chain.links):
            return np.full(len(self), segments)
        hops = self._hops[:, tier]
        return np.where(hops >= 0, self._place[hops], segments)

    def _tier_s(self, tier: int) -> Floats:
        behind = np.concatenate([[0.0], np.cumsum([row[tier] for row in self.chain.seconds])])
        starts = self._ends(tier - 1) if tier else np.zeros(len(self), np.intp)
        seconds: Floats = behind[self._ends(tier)] - behind[starts]
        into = self._hops[:, tier - 1] if tier else np.full(len(self), -1)
        out = self._hops[:, tier] if tier < len(self.chain.links) else np.full(len(self), -1)
        passed_on = (into >= 0) & (into == out)
        seconds += np.where((into >= 0) & ~passed_on, self._column("decode_s", tier)[into], 0.0)
        seconds += np.where((out >= 0) & ~passed_on, self._column("encode_s", tier)[out], 0.0)
        return seconds

    def _column(self, name: str, tier: int) -> Floats:
        return np.array([getattr(self.chain.places[p].levels[n], name)[tier] for p, n in self._levels], np.float64)

    def _sent(self, link: int) -> Floats:
        hops = self._hops[:, link]
        return np.where(hops >= 0, self._bytes[hops], 0.0)

    @cached_property
    def _bytes(self) -> Floats:
        return np.array([self.chain.places[place].levels[number].bytes for place, number in self._levels])

    def _accuracy(self) -> Floats:
        levels = [self.chain.places[place].levels[number] for place, number in self._levels]
        losses = np.array([np.nan if level.loss is None else level.loss for level in levels])
        accuracy = np.full(len(self), np.nan if self.chain.accuracy is None else self.chain.accuracy)
        for link in range(len(self.chain.links)):
            hops = self._hops[:, link]
            again = hops == self._hops[:, link - 1] if link else np.zeros(len(self), np.bool_)
            accuracy = accuracy - np.where((hops >= 0) & ~again, losses[hops], 0.0)
        return accuracy


def _lowest(values: Floats, then: Floats) -> int:
    """Index of the smallest value; of equal ones, of the smallest second figure."""
    return int(np.lexsort((then, values))[0])
