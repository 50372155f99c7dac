"""What befalls a byte stream beyond rate and delay, for a while or for good. One kind, one file.

To add one: a class here with a `kind`, the keys of `During`, and `delaying` or `resets_s`; then its name in
`Condition`. A condition acts on bytes in order, as a proxy can: nothing here loses, reorders or damages packets.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from testbed.link.conditions.during import During
from testbed.link.conditions.jitter import Jitter
from testbed.link.conditions.reset import Reset
from testbed.link.conditions.stall import Stall
from testbed.names import checks_kind

Condition = Annotated[
    Jitter | Reset | Stall, Field(discriminator="kind"), BeforeValidator(checks_kind("jitter", "reset", "stall"))
]
"""Any of them, told apart by `kind`."""

__all__ = ["Condition", "During", "Jitter", "Reset", "Stall"]
