"""Nothing arrives for a while, and nothing is lost: what a hand-over or a partition does to a stream."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from testbed.link.conditions.during import Delaying, During


class Stall(During):
    """Holds bytes back until it ends. With `every_s` and `for_s` it returns at the start of each period."""

    kind: Literal["stall"]
    every_s: Annotated[float, Field(gt=0)] | None = None
    for_s: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _paired(self) -> Self:
        if (self.every_s is None) != (self.for_s is None):
            raise ValueError("every_s and for_s belong together; give both, or neither")
        if self.every_s is not None and self.for_s is not None and self.for_s >= self.every_s:
            raise ValueError(f"for_s = {self.for_s:g} is not less than every_s = {self.every_s:g}")
        return self

    def delaying(self) -> Delaying:
        return self._released_s

    def _released_s(self, at_s: float) -> float:
        if not self.holds(at_s):
            return at_s
        last_s = math.inf if self.to_s is None else self.to_s
        if self.every_s is None or self.for_s is None:
            return last_s
        begun_s = self.from_s + (at_s - self.from_s) // self.every_s * self.every_s
        return max(at_s, min(begun_s + self.for_s, last_s))
