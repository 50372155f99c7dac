"""The radio link of the profile `chaos`: its rates and its delay are changed, and it dies and lives, while it is used.

    python link.py serve edge:7201 cloud:7202       # a port of this machine for each, of the same number
    python link.py set --up 2e5 --down 1e6 --delay 0.05
    python link.py set --dead                       # nothing passes, nothing is closed; --alive ends it
    python link.py check                            # exit code 0 while it serves

The bytes themselves are forwarded by the testbed's emulator. What is on its way keeps the times that it was given.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

STATE = Path("/tmp/link.json")
BEAT_S = 0.1
"""How soon a change is noticed."""
HUNG_S = 5.0


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the link is like now."""

    up_bps: float = 6e6
    down_bps: float = 20e6
    delay_s: float = 0.02
    """One way."""
    dead: bool = False


def read(path: Path) -> Conditions:
    """The conditions of a file."""
    return Conditions(**json.loads(path.read_text()))


def write(path: Path, conditions: Conditions) -> None:
    """Put them into a file, in one step."""
    fresh = path.with_name(path.name + ".part")
    fresh.write_text(json.dumps(asdict(conditions)))
    fresh.replace(path)


class Rate:
    """A capacity (see `testbed.link.capacity`) of the rate that holds when bytes enter."""

    def __init__(self, rate_bps: Callable[[], float]) -> None:
        self._rate_bps = rate_bps
        self._free_s = 0.0

    def book(self, ready_s: float, size: int) -> float:
        """When the last of these bytes has left."""
        self._free_s = max(ready_s, self._free_s) + 8 * size / self._rate_bps()
        return self._free_s


@dataclass(frozen=True, slots=True)
class Direction:
    """What the emulator asks of a direction's settings."""

    rate_bps: Callable[[], float]
    delay_s: float = 0.0
    queue_bytes: int = 65536

    def capacity(self) -> Rate:
        return Rate(self.rate_bps)


@dataclass(frozen=True, slots=True)
class Delay:
    """A condition (see `testbed.link.conditions`) that holds in both directions, for good."""

    delay_s: Callable[[], float]
    forward: None = None

    def concerns(self, direction: str, forward: str) -> bool:
        return True

    def delaying(self) -> Callable[[float], float]:
        return lambda at_s: at_s + self.delay_s()

    def resets_s(self) -> Iterator[float]:
        return iter(())


class Link:
    """An emulated link that follows a file.

    Args:
        path: of the conditions.
        forwards: port on this machine, and target.

    Raises:
        TestbedError: a port is taken or a target's name unknown.
    """

    def __init__(self, path: Path, forwards: Sequence[tuple[int, str]]) -> None:
        from testbed.link.emulator import Emulator
        from testbed.link.settings import DirectionSettings, ForwardSettings, Settings

        self._path = path
        self.now = read(path)
        self._seen = path.stat().st_mtime_ns
        still = DirectionSettings(kind="unlimited")
        listening = tuple(ForwardSettings(name=to, target=to, listen_port=port) for port, to in forwards)
        settings = Settings(uplink=still, downlink=still, forward=listening).model_copy(
            update={
                "uplink": Direction(lambda: self.now.up_bps),
                "downlink": Direction(lambda: self.now.down_bps),
                "condition": (Delay(lambda: self.now.delay_s),),
            }
        )
        self.emulator = Emulator(settings)
        self.emulator.start(time.monotonic())

    def step(self, ending: socket.socket) -> bool:
        """Serve for a moment; whether to go on."""
        seen = self._path.stat().st_mtime_ns
        if seen != self._seen:
            self._seen, self.now = seen, read(self._path)
            print(f"link: {self.now}", flush=True)
        if self.now.dead:
            return not select.select([ending], [], [], BEAT_S)[0]
        return ending not in self.emulator.step(time.monotonic() + BEAT_S, [ending])


def serve(path: Path, targets: Sequence[str]) -> int:
    """Until SIGTERM or SIGINT."""
    from testbed.errors import TestbedError
    from transport.address import Address

    if not path.exists():
        write(path, Conditions())
    ending, waking = socket.socketpair()
    waking.setblocking(False)
    signal.set_wakeup_fd(waking.fileno())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    try:
        link = Link(path, [(Address.read(target).port, target) for target in targets])
    except (TestbedError, ValueError) as exc:
        print(f"link: {exc}", file=sys.stderr)
        return 1
    beat = path.with_name("link.beat")
    while link.step(ending):
        beat.touch()
    link.emulator.close()
    return 0


def change(path: Path, wanted: argparse.Namespace) -> int:
    """Change what is named and leave the rest."""
    given = {"up_bps": wanted.up, "down_bps": wanted.down, "delay_s": wanted.delay, "dead": wanted.dead}
    conditions = replace(read(path), **{key: value for key, value in given.items() if value is not None})
    if min(conditions.up_bps, conditions.down_bps) <= 0 or not 0 <= conditions.delay_s <= 10:
        print(
            "link: rates are above 0 bits per second, the delay from 0 to 10 seconds; --dead ends all", file=sys.stderr
        )
        return 2
    write(path, conditions)
    print(json.dumps(asdict(conditions)))
    return 0


def check(path: Path) -> int:
    """Whether the loop turns."""
    try:
        age_s = time.time() - os.stat(path.with_name("link.beat")).st_mtime
    except OSError as exc:
        print(f"the link does not serve yet: {exc.strerror}")
        return 1
    if age_s > HUNG_S:
        print(f"the link has not turned for {age_s:.0f} s")
        return 1
    return 0


def main(arguments: list[str], path: Path = STATE) -> int:
    """Run one command; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve").add_argument("targets", nargs="+", help="host:port")
    changing = commands.add_parser("set")
    changing.add_argument("--up", type=float, help="bits per second from the device")
    changing.add_argument("--down", type=float, help="bits per second to the device")
    changing.add_argument("--delay", type=float, help="seconds, one way")
    changing.add_argument("--dead", action="store_true", default=None, help="nothing passes")
    changing.add_argument("--alive", action="store_false", dest="dead", default=None, help="it passes again")
    commands.add_parser("check")
    given = parser.parse_args(arguments)
    if given.command == "serve":
        return serve(path, given.targets)
    return change(path, given) if given.command == "set" else check(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
