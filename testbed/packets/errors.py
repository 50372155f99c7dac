"""What goes wrong around a link of packets."""

from __future__ import annotations

from testbed.errors import TestbedError


class PacketLinkError(TestbedError):
    """Namespaces or TUN devices cannot be made here. For a person to read."""

    exit_code = 4
