"""What befalls packets on one direction of a link. One kind, one file.

To add one: a class here with a `kind` and `begin`, then its name in `AnyCondition`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from testbed.names import checks_kind
from testbed.packets.conditions.act import Condition
from testbed.packets.conditions.bursts import Bursts
from testbed.packets.conditions.corrupt import Corrupt
from testbed.packets.conditions.delay import Delay
from testbed.packets.conditions.duplicate import Duplicate
from testbed.packets.conditions.jitter import Jitter
from testbed.packets.conditions.loss import Loss
from testbed.packets.conditions.rate import Rate
from testbed.packets.conditions.reorder import Reorder

AnyCondition = Annotated[
    Bursts | Corrupt | Delay | Duplicate | Jitter | Loss | Rate | Reorder,
    Field(discriminator="kind"),
    BeforeValidator(
        checks_kind("bursts", "corrupt", "delay", "duplicate", "jitter", "loss", "rate", "reorder"),
    ),
]
"""Any of them, told apart by `kind`."""

__all__ = [
    "AnyCondition",
    "Bursts",
    "Condition",
    "Corrupt",
    "Delay",
    "Duplicate",
    "Jitter",
    "Loss",
    "Rate",
    "Reorder",
]
