"""What devices have measured with one bundle, as counts that can be added and subtracted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final, Self

STEPS_PER_OCTAVE: Final = 4
BUCKETS: Final = 65
"""Bucket k holds latencies of at most 2^(k/4) ms and more than the one before; the last one holds all above 46 s."""


def bucket_of(latency_s: float) -> int:
    """The bucket of a latency; devices count in the same ones (docs/fleet.md)."""
    if latency_s <= 1e-3:
        return 0
    return min(BUCKETS - 1, math.ceil(STEPS_PER_OCTAVE * math.log2(latency_s * 1e3)))


def upper_s(bucket: int) -> float:
    """The largest latency that a bucket holds; that of the last one is where it begins."""
    return 1e-3 * 2 ** (min(bucket, BUCKETS - 2) / STEPS_PER_OCTAVE)


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts of frames that ended."""

    frames: int = 0
    """That ended at all."""
    answered: int = 0
    in_time: int = 0
    failed: int = 0
    """Dropped because the bundle could not answer them."""
    known: int = 0
    """Answered frames whose right answer the device knows."""
    right: int = 0
    """Of these, answered rightly."""
    latency: tuple[int, ...] = (0,) * BUCKETS
    """Answered frames by bucket of their latency."""

    @classmethod
    def of(cls, counts: Mapping[str, int], latency: Mapping[int, int]) -> Self:
        """From names and sparse buckets."""
        return cls(**counts, latency=tuple(latency.get(bucket, 0) for bucket in range(BUCKETS)))

    def counts(self) -> dict[str, int]:
        """All but the latencies."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "latency"}

    def buckets(self) -> dict[int, int]:
        """The latencies, sparse."""
        return {bucket: count for bucket, count in enumerate(self.latency) if count}

    def __add__(self, other: Figures) -> Figures:
        return Figures(
            **{name: count + getattr(other, name) for name, count in self.counts().items()},
            latency=tuple(mine + theirs for mine, theirs in zip(self.latency, other.latency, strict=True)),
        )

    def __sub__(self, earlier: Figures) -> Figures:
        """What came since; never negative, for a device may have begun to count anew."""
        return Figures(
            **{name: max(0, count - getattr(earlier, name)) for name, count in self.counts().items()},
            latency=tuple(max(0, mine - theirs) for mine, theirs in zip(self.latency, earlier.latency, strict=True)),
        )

    @property
    def accuracy(self) -> float | None:
        """Share of right answers where the right one is known."""
        return self.right / self.known if self.known else None

    @property
    def in_time_share(self) -> float | None:
        """Share of frames answered in time."""
        return self.in_time / self.frames if self.frames else None

    def quantile_s(self, share: float) -> float | None:
        """A latency that at least this share of answered frames did not exceed; None where nothing was answered."""
        rank, seen = share * sum(self.latency), 0
        for bucket, count in enumerate(self.latency):
            seen += count
            if count and seen >= rank:
                return upper_s(bucket)
        return None

    def slower_than(self, limit_s: float) -> int:
        """Answered frames that surely took longer."""
        return sum(count for bucket, count in enumerate(self.latency) if bucket and upper_s(bucket - 1) >= limit_s)
