"""How long each step takes for how many frames at once, learnt while doing it.

The cost of a step is a piecewise linear function of the batch size with a knot at each power of two. A measurement
between two knots moves both, by the normalised least-mean-squares rule (Widrow and Hoff, 1960), so every batch teaches
something about its neighbours; sizes never tried are extrapolated hopefully, so that they are tried once.
"""

from __future__ import annotations

from itertools import accumulate
from operator import add
from typing import Final, TypeAlias

from serving.scheduling.jobs import Path, Step

MAX_SIZE: Final = 64
"""No batch is larger, whatever it would save: bounds memory and the time that a thread is away."""

_KNOTS: Final = tuple(1 << n for n in range(MAX_SIZE.bit_length()))
_SHARE_OF_NEWEST: Final = 0.2
_OUTLIER: Final = 3.0
"""A measurement counts as at most this many times what was expected: the thread may have lost its processor."""
_HOPE: Final = 0.5
"""What one more frame should cost in a batch of a size never tried, relative to a frame in the largest one tried."""
_WORTH: Final = 0.98
"""A larger size is preferred only where a frame costs less than this, relative to the smaller size."""
_RELAXATION: Final = 0.9
_SAME: Final = 0.02
"""Costs that have moved by less than this share since all sizes were worked out are taken as the same."""

Seconds: TypeAlias = list[float]
"""By batch size from 0 to MAX_SIZE. Plain numbers: they are asked for one by one, before every batch."""


class Curve:
    """Seconds of one step by batch size.

    Learning is cheap, for it is done after every batch; what follows from it is worked out when it is asked for.

    Attributes:
        limit: the largest batch that may be tried: twice the largest that was, 1 where the graph cannot do more.
        best_s: the best seen, of any size.
        doubts: how often `best_s` has turned jobs away since the step was last done.
    """

    def __init__(self) -> None:
        self.knots: list[float | None] = [None] * len(_KNOTS)
        self.best_s = 0.0
        self.doubts = 0
        self.largest = 0
        self.batches = 0
        self.items = 0
        self.single_only = False
        self.limit = 2
        self._seconds: Seconds = [0.0] * (MAX_SIZE + 1)
        self._efficient = 1
        self._worked_out: list[float | None] = []
        """The knots that `_seconds` come from."""
        self._stale = False

    @property
    def seconds(self) -> Seconds:
        """By batch size; entry 0 is 0. All 0 while nothing is known."""
        if self._stale:
            self._refresh()
        return self._seconds

    @property
    def efficient(self) -> int:
        """The size at which one frame costs least, of those that may be tried; the smaller of about equals."""
        if self._stale:
            self._refresh()
        return self._efficient

    def learn(self, size: int, took_s: float) -> bool:
        """Move the curve towards a measurement; whether other decisions may follow from it now."""
        self.batches += 1
        self.items += size
        self.best_s = min(self.best_s, took_s) if self.best_s else took_s
        self.doubts = 0
        self.largest = max(self.largest, size)
        low = size.bit_length() - 1
        part = size / _KNOTS[low] - 1.0
        if self.knots[low] is None or (part and self.knots[low + 1] is None):
            self._begin(low, part, size, took_s)
        else:
            expected_s = self._told(low, part)
            self._move(low, part, _SHARE_OF_NEWEST * (min(took_s, _OUTLIER * expected_s) - expected_s))
        limit = self._limit()
        if limit != self.limit or not self._as_worked_out(low):
            self.limit = limit
            self._stale = True
        return self._stale

    def forbid_batches(self) -> None:
        """This step cannot be done for several frames at once."""
        self.single_only = True
        self.limit = self._limit()
        self._stale = True

    def _begin(self, low: int, part: float, size: int, took_s: float) -> None:
        """The first time near this size: take the measurement at its word, for the knots not known yet."""
        for knot in (low, low + 1) if part else (low,):
            if self.knots[knot] is None:
                self.knots[knot] = took_s * (_KNOTS[knot] / size if knot > low else 1.0)

    def _told(self, low: int, part: float) -> float:
        """What the knots say now."""
        value, above = self.knots[low], self.knots[low + 1] if part else 0.0
        assert value is not None
        assert above is not None
        return (1.0 - part) * value + part * above

    def _move(self, low: int, part: float, by_s: float) -> None:
        shares = ((low, 1.0 - part), (low + 1, part)) if part else ((low, 1.0),)
        norm = sum(share * share for _, share in shares)
        for knot, share in shares:
            value = self.knots[knot]
            assert value is not None
            self.knots[knot] = max(0.0, value + share / norm * by_s)

    def _limit(self) -> int:
        return 1 if self.single_only else min(MAX_SIZE, 2 * max(1, self.largest))

    def _as_worked_out(self, low: int) -> bool:
        """Whether a knot and the one above, of which one or both have moved, are about where they were."""
        for now, before in zip(self.knots[low : low + 2], self._worked_out[low : low + 2], strict=False):
            if now != before and (now is None or before is None or abs(now - before) > _SAME * before):
                return False
        return bool(self._worked_out)

    def _refresh(self) -> None:
        self._stale = False
        self._worked_out = self.knots[:]
        seconds = self._seconds = self._interpolated()
        self._efficient = 1
        for size in _KNOTS:
            if size <= self.limit and seconds[size] / size < _WORTH * seconds[self._efficient] / self._efficient:
                self._efficient = size

    def at(self, size: int) -> float:
        """Seconds of a batch of this size."""
        if size == 1 and self._stale and self.knots[0] is not None:
            return self.knots[0]  # a frame alone needs no other size
        return self.seconds[size]

    def _interpolated(self) -> Seconds:
        known = [(size, value) for size, value in zip(_KNOTS, self.knots, strict=True) if value is not None]
        if not known:
            return [0.0] * (MAX_SIZE + 1)
        sizes, values = [size for size, _ in known], [value for _, value in known]
        if sizes[0] > 1:
            sizes.insert(0, 1)
            values.insert(0, values[0] / sizes[1])
        if sizes[-1] < MAX_SIZE:
            values.append(values[-1] * (1.0 + _HOPE * (MAX_SIZE / sizes[-1] - 1.0)))
            sizes.append(MAX_SIZE)
        found, size, value = [0.0], 0, 0.0
        for next_size, next_value in zip(sizes, values, strict=True):
            each = (next_value - value) / (next_size - size)
            found += [value + each * more for more in range(1, next_size - size + 1)]
            size, value = next_size, next_value
        return list(accumulate(found, max))  # a larger batch is never taken to be quicker


class Costs:
    """What every step has cost here. A step never done costs 0 as far as is known."""

    def __init__(self) -> None:
        self._curves: dict[Step, Curve] = {}
        self._paths: dict[Path, tuple[Curve, ...]] = {}
        self._totals: dict[tuple[Path, int], Seconds] = {}
        """By path and position; forgotten whenever something is learnt that changes them."""

    def of(self, step: Step) -> Curve:
        """The curve of one step."""
        found = self._curves.get(step)
        if found is None:
            found = self._curves[step] = Curve()
        return found

    def along(self, path: Path) -> tuple[Curve, ...]:
        """The curves of a path's steps."""
        found = self._paths.get(path)
        if found is None:
            found = self._paths[path] = tuple(self.of(step) for step in path.steps)
        return found

    def total(self, path: Path, position: int) -> Seconds:
        """Seconds of all steps from a position to the end of a path, by batch size."""
        key = (path, position)
        found = self._totals.get(key)
        if found is None:
            found = [0.0] * (MAX_SIZE + 1)
            for curve in self.along(path)[position:]:
                found = list(map(add, found, curve.seconds))
            self._totals[key] = found
        return found

    def alone_s(self, path: Path, position: int) -> float:
        """Seconds of all steps from a position to the end of a path, for one frame by itself."""
        return sum(curve.at(1) for curve in self.along(path)[position:])

    def fastest_s(self, path: Path, position: int) -> float:
        """The best that may be hoped for, from a position to the end of a path."""
        fastest_s = 0.0
        for curve in self.along(path)[position:]:
            fastest_s += curve.best_s * _RELAXATION**curve.doubts
        return fastest_s

    def learn(self, step: Step, size: int, took_s: float) -> bool:
        """A batch was done.

        Args:
            step: what was done.
            size: for how many frames, 1 to MAX_SIZE.
            took_s: from begin to end.

        Returns:
            Whether that changes what is known by more than noise does.
        """
        changed = self.of(step).learn(size, took_s)
        if changed:
            self._totals.clear()
        return changed

    def hoped_s(self, path: Path, position: int) -> float:
        """The same without doubts: no less."""
        return sum(curve.best_s for curve in self.along(path)[position:])

    def doubt(self, path: Path, position: int) -> None:
        """A job was turned away on `fastest_s`: believe it less until the steps are done again.

        Or a slow first run would lock a kind out for ever.
        """
        for curve in self.along(path)[position:]:
            curve.doubts += 1

    def explained(self) -> dict[str, object]:
        """By step: what is known, for a person. Seconds."""
        return {
            str(step): {
                "seconds_by_size": {
                    str(size): value for size, value in zip(_KNOTS, curve.knots, strict=True) if value is not None
                },
                "efficient_size": curve.efficient,
                "largest_tried": curve.largest,
                "can_be_batched": not curve.single_only,
                "batches": curve.batches,
                "mean_size": curve.items / curve.batches if curve.batches else 0.0,
            }
            for step, curve in self._curves.items()
        }
