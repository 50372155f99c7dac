"""What systemd wants to hear from a service of `Type=notify`: ready, reloading, stopping, and still alive.

The protocol is that of sd_notify(3): lines of text in a datagram to the socket that `NOTIFY_SOCKET` names.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Self

_log = logging.getLogger(__name__)


class Notify:
    """Says nothing where nobody listens.

    Args:
        address: of the socket; a leading `@` stands for the abstract namespace. None says nothing.
        watchdog_s: how often systemd wants a sign of life at least; None where it does not.
    """

    def __init__(self, address: str | None = None, watchdog_s: float | None = None) -> None:
        self._address = address
        self._watchdog_s = watchdog_s

    @classmethod
    def of(cls, environment: Mapping[str, str], pid: int) -> Self:
        """From the environment that systemd gives; a watchdog meant for another process is left alone."""
        microseconds = environment.get("WATCHDOG_USEC", "")
        ours = environment.get("WATCHDOG_PID", str(pid)) == str(pid)
        watchdog_s = int(microseconds) / 1e6 if microseconds.isdecimal() and ours else None
        return cls(environment.get("NOTIFY_SOCKET") or None, watchdog_s)

    def ready(self, status: str) -> None:
        """The service serves, for the first time or again after `reloading`."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """New settings are being taken."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """The service ends."""
        self._send("STOPPING=1")

    async def live(self, alive: Callable[[], bool]) -> None:
        """Tell the watchdog for as long as `alive` says so; runs until cancelled. A process that hangs says nothing."""
        while self._watchdog_s is not None:
            if alive():
                self._send("WATCHDOG=1")
            else:
                _log.error("no sign of life to the watchdog: a frame has been computed for far too long")
            await asyncio.sleep(self._watchdog_s / 3)

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.connect(address)
                out.send("\n".join(lines).encode())
        except OSError as exc:
            _log.warning("systemd cannot be told %s: %s", lines[0], exc)


def notify_of_this_process() -> Notify:
    """For a program's entry."""
    return Notify.of(os.environ, os.getpid())
