"""What goes wrong, at a given time or at random. One kind, one file.

To add one: a class here with `kind`, and `begin` and `end` on a `Stage` or `stalls`; then its name in `AnyFault`.
All work on our own processes, without privileges.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from testbed.names import checks_kind
from testbed.scenarios.faults.bad_bundle import BadBundle
from testbed.scenarios.faults.clock import Clock
from testbed.scenarios.faults.corrupt_file import CorruptFile
from testbed.scenarios.faults.disk_full import DiskFull
from testbed.scenarios.faults.expired_certificate import ExpiredCertificate
from testbed.scenarios.faults.fault import Fault, Occurrence, Stage
from testbed.scenarios.faults.kill import Kill
from testbed.scenarios.faults.memory_limit import MemoryLimit
from testbed.scenarios.faults.partition import Partition
from testbed.scenarios.faults.pause import Pause
from testbed.scenarios.faults.slow_disk import SlowDisk
from testbed.scenarios.faults.steal import Steal

KINDS = (
    "bad-bundle", "clock", "corrupt-file", "disk-full", "expired-certificate", "kill", "memory-limit", "partition",
    "pause", "slow-disk", "steal",
)  # fmt: skip

AnyFault = Annotated[
    BadBundle
    | Clock
    | CorruptFile
    | DiskFull
    | ExpiredCertificate
    | Kill
    | MemoryLimit
    | Partition
    | Pause
    | SlowDisk
    | Steal,
    Field(discriminator="kind"),
    BeforeValidator(checks_kind(*KINDS)),
]
"""Any of them, told apart by `kind`."""

__all__ = ["KINDS", "AnyFault", "Fault", "Occurrence", "Stage"]
