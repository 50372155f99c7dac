"""What waits in front of a bottleneck, and what is dropped there. One discipline, one file.

To add one: an act here (see `testbed.packets.act`), its name in `Discipline`, its line in `queue_named`.
"""

from __future__ import annotations

from typing import Literal

from testbed.packets.act import Act
from testbed.packets.queues.codel import CoDel
from testbed.packets.queues.drop_tail import drop_tail
from testbed.packets.queues.server import Server

Discipline = Literal["drop-tail", "codel"]


def queue_named(discipline: Discipline, server: Server, queue_bytes: int) -> Act:
    """A fresh queue of at most so many bytes in front of a server."""
    return CoDel(server, queue_bytes) if discipline == "codel" else drop_tail(server, queue_bytes)


__all__ = ["CoDel", "Discipline", "Server", "drop_tail", "queue_named"]
