"""Connections that are broken: both ends see a reset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from testbed.link.conditions.during import During


class Reset(During):
    """Breaks the open connections at `from_s`, and again every `every_s` until `to_s`."""

    kind: Literal["reset"]
    every_s: Annotated[float, Field(gt=0)] | None = None

    def resets_s(self) -> Iterator[float]:
        at_s = self.from_s
        yield at_s
        while self.every_s is not None:
            at_s += self.every_s
            if self.to_s is not None and at_s >= self.to_s:
                return
            yield at_s
