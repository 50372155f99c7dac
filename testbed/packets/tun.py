"""TUN devices: a network interface whose packets a program reads and writes (Linux, tuntap.rst)."""

from __future__ import annotations

import fcntl
import os
import struct
from typing import Final

_TUNSETIFF: Final = 0x400454CA
_IFF_TUN: Final = 0x0001
_IFF_NO_PI: Final = 0x1000
DEVICE: Final = "/dev/net/tun"


def open_tun(name: str) -> int:
    """A new interface in the current namespace, as a descriptor that does not block; it is gone when this is closed.

    Reading and writing passes one IP packet at a time.

    Raises:
        OSError: no such device in this kernel, no privilege, or the name is taken.
    """
    descriptor = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
