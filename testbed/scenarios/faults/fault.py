"""What all faults share: when they come, and what they are given to act on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Annotated, ClassVar, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from testbed.disk import DiskState
from testbed.link.conditions import Stall
from testbed.processes import Child

LEAST_S = 0.1
"""A fault that comes at random lasts at least so long."""


class Stage(Protocol):
    """The running programs, as faults see them."""

    def programs(self, target: str) -> list[Child]:
        """Those that run now under this name: one tier, or all devices of a table."""
        ...

    def kill(self, target: str) -> None:
        """End a tier or the broker as `kill -9` does."""
        ...

    def start(self, target: str) -> None:
        """Start what was killed again, on its old port."""
        ...

    def start_with_bad_bundle(self, tier: str) -> None:
        """Start a killed tier with a damaged copy of its bundle; it is expected to refuse.

        Raises:
            ChildError: it did not refuse.
        """
        ...

    def jump(self, target: str, seconds: float) -> None:
        """Move the wall clock of programs that were started for that."""
        ...

    def set_disk(self, target: str, state: DiskState) -> None:
        """Let the disk with the spools of a table's devices behave like this."""
        ...

    def starve(self, tier: str, spare_bytes: int) -> None:
        """Give a tier no more memory than it has and this; it may end of that."""
        ...

    def feed(self, tier: str) -> None:
        """Give a tier memory again; it is started again if it has ended."""
        ...

    def turn_bit(self, target: str) -> None:
        """Turn one bit, always the same, in a program's own copy of the bundle."""
        ...

    def expire(self, tier: str) -> None:
        """Restart a tier with a certificate that is out of date."""
        ...

    def renew(self, tier: str) -> None:
        """Give a running tier a good certificate."""
        ...


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One fault, once.

    Attributes:
        name: of its table.
        ends_s: None if it stays.
        told: for people, such as "kill edge".
    """

    name: str
    begins_s: float
    ends_s: float | None
    told: str


class Fault(BaseModel):
    """`[fault.NAME]`: exactly one of `at_s` and `every_s`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    reaches: ClassVar[Sequence[str]] = ("tier",)
    """What `target` may name: any of "tier", "device" (a table of them) and "broker"."""
    lasts: ClassVar[bool] = True
    """Whether it has an end; one that has none happens at an instant."""

    kind: str
    target: str
    at_s: Annotated[float, Field(ge=0)] | None = None
    """Seconds since the links started."""
    every_s: Annotated[float, Field(gt=0)] | None = None
    """At random: mean seconds from the end of one to the next (exponential)."""
    for_s: Annotated[float, Field(ge=LEAST_S)] | None = None
    """How long it lasts; None stays. At random, half to one and a half times as long."""

    @model_validator(mode="after")
    def _timed(self) -> Self:
        if (self.at_s is None) == (self.every_s is None):
            raise ValueError("a fault comes either at a time or at random; give one of at_s and every_s")
        if self.every_s is not None and self.for_s is None and self.lasts:
            raise ValueError("a fault that comes at random has to end; give for_s")
        if self.for_s is not None and not self.lasts:
            raise ValueError(f"{self.kind!r} happens at an instant; remove for_s")
        return self

    @property
    def told(self) -> str:
        """In words, for reports."""
        return f"{self.kind} {self.target}"

    def occurrences(self, name: str, seconds: float, chance: Random) -> list[Occurrence]:
        """When it happens in a run of this length; the same for the same state of `chance`."""
        if self.at_s is not None:
            ends_s = None if self.for_s is None else self.at_s + self.for_s
            return [Occurrence(name, self.at_s, ends_s, self.told)] if self.at_s < seconds else []
        assert self.every_s is not None
        found: list[Occurrence] = []
        at_s = chance.expovariate(1 / self.every_s)
        while at_s < seconds:
            lasts_s = 0.0 if self.for_s is None else max(self.for_s * chance.uniform(0.5, 1.5), LEAST_S)
            found.append(Occurrence(name, at_s, at_s + lasts_s if self.lasts else None, self.told))
            at_s += lasts_s + chance.expovariate(1 / self.every_s)
        return found

    def begin(self, stage: Stage) -> None:
        """Make it happen."""

    def end(self, stage: Stage) -> None:
        """Undo it."""

    def stalls(self, occurrence: Occurrence) -> Iterable[tuple[str, Stall]]:
        """(link, what the emulator is to do) for faults of the network; None of the programs is touched."""
        return ()
