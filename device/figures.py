"""What each part costs on this device, on the link and on the tiers: corrected by every frame since the start.

A part is corrected by its own measurements, and all parts of the device by those of any: parts measured back to back at
the start ran on warm caches and an idle machine, and what makes one of them slower later makes the others slower too.
Were each corrected alone, those not tried lately would keep looking fast, and a policy would try them in turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from adaptation.plan import Choice, Route
from runtime.manifest import Profile

WEIGHT = 0.2
"""Share of each new measurement in a figure that stands alone."""
SHARED, OWN = 0.12, 0.1
"""On the device: shares of each new measurement in what all parts have in common, and in what is the part's own."""
NOISE_S = 0.002
"""A measurement of this length says half as much about the other parts as a long one does."""
MOST = 3.0
"""A single measurement counts as at most so many times what was expected: one hiccup is not a slow machine."""
FORGET_S = 10.0
"""Time constant with which a figure that nothing measures any more goes back to what was measured at the start. Without
it, a part that once was slow would never be chosen, and so never be measured, again."""


class Figure:
    """Seconds of one part."""

    def __init__(self, start_s: float, weight: float = WEIGHT) -> None:
        self._start_s = start_s
        self._weight = weight
        self._factor = 1.0
        self._learned_s = -math.inf

    def at(self, now_s: float) -> float:
        """What the part should take now."""
        return self._start_s * self._factor_at(now_s)

    def learn(self, factor: float, now_s: float, share: float = 1.0) -> None:
        """It took `factor` times as long as expected; `share` is how much this measurement is worth, 0 to 1."""
        held = self._factor_at(now_s)
        self._factor = held * (1.0 + share * self._weight * (min(factor, MOST) - 1.0))
        self._learned_s = now_s

    def _factor_at(self, now_s: float) -> float:
        return 1.0 + (self._factor - 1.0) * math.exp((self._learned_s - now_s) / FORGET_S)


class Distance:
    """Seconds to what lies behind a tier and back, its work included: the least that was seen, and what is on top of
    that now, which is forgotten in time. It is the same for all choices that go there."""

    def __init__(self) -> None:
        self._least_s = math.inf
        self._above_s = 0.0
        self._learned_s = 0.0

    def at(self, now_s: float) -> float:
        """What it should take now; 0 before anything is known."""
        if math.isinf(self._least_s):
            return 0.0
        return self._least_s + self._above_s * math.exp((self._learned_s - now_s) / FORGET_S)

    def learn(self, seconds: float, now_s: float) -> None:
        """It took so long."""
        held_s = seconds if math.isinf(self._least_s) else self.at(now_s)
        self._least_s = min(self._least_s, seconds)
        self._above_s = max(held_s + WEIGHT * (seconds - held_s) - self._least_s, 0.0)
        self._learned_s = now_s


class Figures:
    """Seconds of the parts of one model.

    Args:
        profile: measured on this machine at its own speed.
        slowdown: how many times slower than that the emulated device is; tiers are taken to have this machine's speed
            until they say otherwise.
        clock: monotonic seconds.
    """

    def __init__(self, profile: Profile, *, slowdown: float, clock: Callable[[], float]) -> None:
        self._profile = profile
        self._clock = clock
        self._shared = Figure(1.0, SHARED)
        self._segments = [Figure(slowdown * seconds, OWN) for seconds in profile.segment_s]
        self._exits = [Figure(slowdown * seconds, OWN) for seconds in profile.exit_s]
        self._encoders = [[Figure(slowdown * seconds, OWN) for seconds in levels] for levels in profile.encode_s]
        self._tiers: dict[Choice, Figure] = {}
        self._behind_edge = Distance()
        self._inputs = Figure(1.0, SHARED)
        self._sizes: dict[tuple[int, int], Figure] = {}

    @property
    def now_s(self) -> float:
        """The moment on the clock by which figures age."""
        return self._clock()

    def segments_s(self, first: int, last: int) -> float:
        """Device seconds of the segments from `first` up to but without `last`."""
        return self._device_s(self._segments[first:last])

    def exit_s(self, position: int) -> float:
        """Device seconds of the exit at this position of the manifest's list."""
        return self._device_s([self._exits[position]])

    def encode_s(self, cut: int, level: int) -> float:
        """Device seconds of one encoder."""
        return self._device_s([self._encoders[cut][level]])

    def tier_s(self, choice: Choice) -> float:
        """Seconds inside the tier, without waiting there; 0 for a device answer.

        Of what the edge passes on, the way to the cloud and back is part of that.
        """
        if choice.level is None:
            return 0.0
        if choice.route is Route.EDGE_TO_CLOUD:
            return self._expected_tier_s(choice.cut, choice.level) + self._behind_edge.at(self._clock())
        figure = self._tiers.get(choice)
        return self._expected_tier_s(choice.cut, choice.level) if figure is None else figure.at(self._clock())

    def size_factor(self, cut: int, level: int) -> float:
        """How many times longer payloads of a level are than on the test set: by its own, and by those of all levels,
        since inputs that are hard to code are so at every level."""
        own = self._sizes.get((cut, level))
        return self._inputs.at(self._clock()) * (1.0 if own is None else own.at(self._clock()))

    def learn_size(self, cut: int, level: int, factor: float) -> None:
        """A payload of this level was `factor` times as long as on the test set."""
        now_s, ratio = self._clock(), _ratio(factor, self.size_factor(cut, level))
        self._sizes.setdefault((cut, level), Figure(1.0, OWN)).learn(ratio, now_s)
        self._inputs.learn(ratio, now_s)

    def learn_segments(self, first: int, last: int, seconds: float) -> None:
        """These segments took so long on the device."""
        self._learn(self._segments[first:last], seconds)

    def learn_exit(self, position: int, seconds: float) -> None:
        """This exit took so long on the device."""
        self._learn([self._exits[position]], seconds)

    def learn_encode(self, cut: int, level: int, seconds: float) -> None:
        """This encoder took so long on the device."""
        self._learn([self._encoders[cut][level]], seconds)

    def learn_tier(self, choice: Choice, seconds: float) -> None:
        """A tier reports that it spent so long on a frame sent by this choice, waiting not counted."""
        if choice.route is Route.EDGE_TO_CLOUD and choice.level is not None:
            own_s = self._expected_tier_s(choice.cut, choice.level)
            self._behind_edge.learn(max(seconds - own_s, 0.0), self._clock())
            return
        if choice not in self._tiers:
            self._tiers[choice] = Figure(self.tier_s(choice))
        self._tiers[choice].learn(_ratio(seconds, self.tier_s(choice)), self._clock())

    def _device_s(self, parts: Sequence[Figure]) -> float:
        now_s = self._clock()
        return self._shared.at(now_s) * sum(part.at(now_s) for part in parts)

    def _learn(self, parts: Sequence[Figure], seconds: float) -> None:
        expected_s, now_s = self._device_s(parts), self._clock()
        factor = _ratio(seconds, expected_s)
        for part in parts:
            part.learn(factor, now_s)
        self._shared.learn(factor, now_s, expected_s / (expected_s + NOISE_S))

    def _expected_tier_s(self, cut: int, level: int) -> float:
        """As on this machine, corrected by what the edge took for the same frames, where it has answered some."""
        nearer = self._tiers.get(Choice(cut, level, Route.EDGE))
        if nearer is not None:
            return nearer.at(self._clock())
        return self._profile.decode_s[cut][level] + sum(self._profile.segment_s[cut:])


def _ratio(seconds: float, expected_s: float) -> float:
    return seconds / expected_s if expected_s > 0.0 else 1.0
