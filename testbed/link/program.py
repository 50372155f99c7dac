"""The emulator as a program: ready line, start signal, record, end."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from types import FrameType

from testbed.link.emulator import Emulator
from testbed.link.record import Record
from testbed.link.settings import Settings

_LONGEST_WAIT_S = 60.0


def run(settings: Settings) -> None:
    """Forward until SIGINT or SIGTERM; must be called in the main thread.

    Prints `{"event": "ready", "ports": {name: port}}`. The link is open, with its delay alone, until the line `start`
    comes on standard input; from then on it is what the settings say, and `{"event": "started", "monotonic_s": ...}`
    is printed.

    Raises:
        TestbedError: a trace, a port or the record's file cannot be used.
    """
    emulator = Emulator(settings)
    record = Record(settings.record.path)
    ending, waking = socket.socketpair()
    try:
        ending.setblocking(False)
        waking.setblocking(False)
        signal.set_wakeup_fd(waking.fileno())
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _noted)
        print(json.dumps({"event": "ready", "ports": emulator.ports}), flush=True)
        _serve(emulator, record, ending)
    finally:
        signal.set_wakeup_fd(-1)
        emulator.close()
        record.close()
        ending.close()
        waking.close()


def _serve(emulator: Emulator, record: Record, ending: socket.socket) -> None:
    """Step until a signal arrives on `ending`."""
    orders = _Orders()
    started = False
    while True:
        until_s = record.next_s if started else time.monotonic() + _LONGEST_WAIT_S
        signalled = emulator.step(until_s, [ending, *orders.watched])
        if ending in signalled:
            return
        if orders.started(signalled) and not started:
            started = True
            now_s = time.monotonic()
            emulator.start(now_s)
            record.start(now_s, emulator.totals)
            print(json.dumps({"event": "started", "monotonic_s": round(now_s, 6)}), flush=True)
        while started and time.monotonic() >= record.next_s:
            record.line(emulator.totals)


class _Orders:
    """Lines on standard input; when it ends, there are no more."""

    def __init__(self) -> None:
        self.watched: list[int] = [] if sys.stdin.closed else [sys.stdin.fileno()]
        self._text = b""

    def started(self, readable: list[socket.socket | int]) -> bool:
        """Whether the line `start` has come."""
        if not any(descriptor in readable for descriptor in self.watched):
            return False
        data = os.read(self.watched[0], 4096)
        if not data:
            self.watched = []
        *lines, self._text = (self._text + data).split(b"\n")
        return b"start" in [line.strip() for line in lines]


def _noted(number: int, frame: FrameType | None) -> None:
    """The wake-up descriptor has it already."""
