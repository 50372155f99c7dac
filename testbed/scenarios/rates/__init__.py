"""Links from a few parameters: each kind turns a length and a source of chance into (seconds, bit/s) steps.

To add one: a class here with `kind` and `drawn`, and its name in `Direction`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from testbed.link.settings import DirectionSettings
from testbed.names import checks_kind
from testbed.scenarios.rates.drawn import Drawn
from testbed.scenarios.rates.handovers import Handovers
from testbed.scenarios.rates.markov import Markov
from testbed.scenarios.rates.wifi import Wifi

KINDS = ("handovers", "markov", "rate", "steps", "trace", "unlimited", "wifi")

Direction = Annotated[
    DirectionSettings | Handovers | Markov | Wifi, Field(discriminator="kind"), BeforeValidator(checks_kind(*KINDS))
]
"""One direction of a link: as the emulator takes it, or drawn from parameters."""

__all__ = ["KINDS", "Direction", "Drawn", "Handovers", "Markov", "Wifi"]
