"""What all conditions of packets have in common."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from testbed.packets.act import Act

Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, le=10)]


class Condition(BaseModel, ABC):
    """Settings of a condition."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    disorders: ClassVar[bool] = False
    """Whether a packet may leave it behind one that came later."""
    needs_order: ClassVar[bool] = False
    """Whether it works only on packets that come in the order of their times."""

    @abstractmethod
    def begin(self, chance: random.Random) -> Act:
        """A fresh act of this condition, which draws from `chance` alone."""
