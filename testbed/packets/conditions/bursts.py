"""Packets that are lost in bursts."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from testbed.packets.act import Act
from testbed.packets.conditions.act import Condition, Share
from testbed.packets.packet import Packet


class Bursts(Condition):
    """The model of Gilbert (1960) and Elliott (1963): a good and a bad state, each with its loss, changed by packets.

    The bad state lasts `burst` packets in the mean and holds `bad` of the time, so that with the usual losses of 1 and
    0 in the two states `bad` is the share that is lost.
    """

    kind: Literal["bursts"]
    bad: Annotated[float, Field(gt=0, lt=1)]
    """Share of packets that come in the bad state."""
    burst: Annotated[float, Field(ge=1, le=1000)]
    """Packets of one stay in the bad state, in the mean."""
    loss_in_bad: Share = 1.0
    loss_in_good: Share = 0.0

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self._to_bad > 1:
            raise ValueError(
                f"bursts of {self.burst:g} packets cannot fill {self.bad:g} of the time; make bursts at least "
                f"{self.bad / (1 - self.bad):.3g} packets long"
            )
        return self

    @property
    def _to_bad(self) -> float:
        """Probability of leaving the good state, from the balance of the two."""
        return self.bad / (self.burst * (1 - self.bad))

    def begin(self, chance: random.Random) -> Act:
        is_bad = chance.random() < self.bad

        def act(packet: Packet) -> Iterable[Packet]:
            nonlocal is_bad
            loss = self.loss_in_bad if is_bad else self.loss_in_good
            lost = chance.random() < loss
            if chance.random() < (1 / self.burst if is_bad else self._to_bad):
                is_bad = not is_bad
            return () if lost else (packet,)

        return act
