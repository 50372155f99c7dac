"""A radio link of packets between two namespaces, as a program: `python -m testbed.backends.radio CONFIG.toml`.

What the kernel's token bucket would do coarsely: at 30 kbit/s one full packet, the least that a bucket holds, is 0.4 s
of the link. Here each packet takes its time exactly, at rates that change at any moment, 0 among them.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import secrets
import signal
import subprocess
import sys
from contextlib import ExitStack
from os import close
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, PrivateAttr

from protocol.errors import IsthmusError
from runtime.settings import load_settings
from testbed.link.settings import DirectionSettings
from testbed.packets.act import Act
from testbed.packets.conditions import AnyCondition, Condition, Delay
from testbed.packets.errors import PacketLinkError
from testbed.packets.path import PacketPath
from testbed.packets.queues import Discipline, Server, queue_named
from testbed.packets.stage import Lane, punctual_loop
from testbed.packets.tun import open_tun

_TCP = 6


class End(BaseModel):
    """`[near]`, `[far]`: where an end of the link is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespace: str
    device: str
    address: str


class Settings(BaseModel):
    """All settings of the program."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    near: End
    far: End
    uplink: DirectionSettings
    """From near to far."""
    downlink: DirectionSettings
    condition: tuple[AnyCondition, ...] = ()
    """What befalls packets behind the bottleneck, each way by itself."""
    queue: Discipline = "drop-tail"
    seed: int = 0


class Radio(Condition):
    """A direction of a link: packets leave one after the other, as fast as it can.

    Counted against rate and queue are the bytes of streams, as on the links of other backends: headers and bare
    acknowledgements take no room. Until `start` nothing waits.
    """

    needs_order: ClassVar[bool] = True

    direction: DirectionSettings
    queue: Discipline = "drop-tail"
    _start_s: float = PrivateAttr(math.inf)

    def start(self, at_s: float) -> None:
        """Rates count from this moment on."""
        self._start_s = at_s

    @property
    def conditions(self) -> list[Condition]:
        """All that a packet meets in this direction: the bottleneck, and the propagation behind it."""
        return [self, Delay(kind="delay", delay_s=self.direction.delay_s)]

    def begin(self, chance: random.Random) -> Act:
        capacity = self.direction.capacity()

        def book(ready_s: float, size: int) -> float:
            if ready_s < self._start_s:
                return ready_s
            return self._start_s + capacity.book(ready_s - self._start_s, size)

        return queue_named(self.queue, Server(book, stream_bytes), self.direction.queue_bytes)


def stream_bytes(data: bytes) -> int:
    """What an IPv4 packet carries of a TCP stream; of anything else, all of it."""
    header = (data[0] & 15) * 4
    if data[9] != _TCP:
        return len(data)
    return len(data) - header - (data[header + 12] >> 4) * 4


def run(settings: Settings) -> None:
    """Carry packets until SIGTERM or SIGINT.

    Prints `{"event": "ready"}`; the line `start SECONDS` on standard input lets the rates count from that moment of the
    monotonic clock on.

    Raises:
        PacketLinkError: a TUN device cannot be made.
    """
    with asyncio.Runner(loop_factory=punctual_loop) as runner:
        runner.run(_run(settings))


async def _run(settings: Settings) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    with ExitStack() as undo:
        near, far = (_opened(end, undo) for end in (settings.near, settings.far))
        up, down = (Radio(direction=one, queue=settings.queue) for one in (settings.uplink, settings.downlink))
        for source, sink, radio, way in ((near, far, up, "up"), (far, near, down, "down")):
            path = PacketPath([*radio.conditions, *settings.condition], f"{settings.seed}/{way}")
            undo.callback(Lane(source, sink, path).close)
        obeying = asyncio.create_task(_obey([up, down]), name="orders")
        print(json.dumps({"event": "ready"}), flush=True)
        await ended.wait()
        obeying.cancel()


async def _obey(radios: list[Radio]) -> None:
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        order, _, at_s = line.decode().partition(" ")
        if order == "start":
            for radio in radios:
                radio.start(float(at_s))


def _opened(end: End, undo: ExitStack) -> int:
    """A TUN device that is up in its namespace, which routes loopback addresses over it; its descriptor."""
    passing = f"is{secrets.token_hex(5)}"  # for the moment in which it lies in our own namespace
    try:
        descriptor = open_tun(passing)
    except OSError as exc:
        raise PacketLinkError(f"a radio link cannot be made: /dev/net/tun: {exc.strerror}") from exc
    undo.callback(close, descriptor)
    _done(["ip", "link", "set", "dev", passing, "netns", end.namespace, "name", end.device])
    enter = ["ip", "netns", "exec", end.namespace]
    _done([*enter, "tee", f"/proc/sys/net/ipv4/conf/{end.device}/route_localnet"], "1")
    _done(
        ["ip", "-n", end.namespace, "-batch", "-"],
        f"link set dev {end.device} addrgenmode none\naddr add {end.address}/24 dev {end.device}\n"
        f"link set dev {end.device} up\n",
    )
    return descriptor


def _done(command: list[str], given: str = "") -> None:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        told = done.stderr.strip() or f"exit code {done.returncode}"
        raise PacketLinkError(f"{' '.join(command)} failed: {told}; radio links need root and CAP_NET_ADMIN")


def main(path: Path) -> int:
    """Returns the exit code."""
    try:
        run(load_settings(Settings, path))
    except IsthmusError as error:
        print(f"radio: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
