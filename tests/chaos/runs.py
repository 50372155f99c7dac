"""One run: what a seed does to the programs, and what is found wrong in the histories afterwards."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from testbed.errors import ChildError
from tests.chaos.checker import violations
from tests.chaos.forks import Forks
from tests.chaos.pushing import Sender, answered
from tests.chaos.world import FRAMES, RATE_HZ, TIERS, World
from tests.runtime.tiny_bundle import TinyBundle

DONE_S: Final = 90.0
"""From the last frame's capture to the device's end, or to the last acknowledged frame's answer, at most."""
_LOOK_S: Final = 0.02


def run(seed: int, folder: Path, bundle: TinyBundle) -> list[str]:
    """Do what the seed says; everything that was wrong.

    Raises:
        ChildError: a program did not start, or did not end.
    """
    chance = random.Random(seed)
    with ExitStack() as opened:
        forks = opened.enter_context(Forks(folder))
        return _Run(chance, World(chance, folder, bundle, forks, opened), Sender(bundle.items)).play()


class _Run:
    def __init__(self, chance: random.Random, world: World, sender: Sender) -> None:
        self._chance = chance
        self._world = world
        self._sender = sender
        self._wrong: list[str] = []
        self._next_s = time.monotonic()

    def play(self) -> list[str]:
        actions = [self._kill_tier, self._kill_tier, self._stall_tier, self._stall_tier, self._leave_half_open]
        if self._world.broker is not None:
            actions += [self._kill_broker, self._kill_broker]
        until_s = time.monotonic() + FRAMES / RATE_HZ
        while time.monotonic() < until_s:
            self._go_on(self._chance.uniform(0.0, 0.8))
            kill_device = self._chance.random() < 0.1
            (self._kill_device if kill_device else self._chance.choice(actions))()
        summary = self._last_words()
        return [*self._wrong, *violations(self._world.history.read_text(), summary)]

    def _go_on(self, seconds: float) -> None:
        """Let time pass, in which frames are pushed where this is how they come."""
        until_s = time.monotonic() + seconds
        while (now_s := time.monotonic()) < until_s:
            if self._world.durable and now_s >= self._next_s:
                self._next_s = max(self._next_s + 1 / RATE_HZ, now_s)
                self._sender.push(self._world.device.ready["push_port"])
            time.sleep(max(0.0, min(until_s - time.monotonic(), _LOOK_S)))

    def _kill_tier(self) -> None:
        """`kill -9`, and after a while it is there again, on the same port."""
        kind = self._chance.choice(TIERS)
        self._world.tiers[kind].kill()
        self._go_on(self._chance.uniform(0.0, 0.5))
        self._world.start_tier(kind)

    def _stall_tier(self) -> None:
        """It stands still with its connections open."""
        tier = self._world.tiers[self._chance.choice(TIERS)]
        tier.pause()
        self._go_on(self._chance.uniform(0.0, 1.0))
        tier.resume()

    def _leave_half_open(self) -> None:
        """A tier dies while nothing passes the link: the device's connection is open, and nobody is there."""
        kind = self._chance.choice(TIERS)
        self._world.link.pause()
        self._world.tiers[kind].kill()
        self._world.start_tier(kind)
        self._go_on(self._chance.uniform(0.0, 0.7))
        self._world.link.resume()

    def _kill_broker(self) -> None:
        """`kill -9` of the broker, which has forgotten everything when it is there again."""
        assert self._world.broker is not None
        self._world.broker.kill()
        self._go_on(self._chance.uniform(0.0, 0.3))
        self._world.broker.start()

    def _kill_device(self) -> None:
        """`kill -9` of the device: what it had written stays. Another one starts with its spool."""
        history = self._world.history
        seen = history.read_text() if history.exists() else ""
        self._world.device.kill()
        left = history.read_text() if history.exists() else ""
        self._wrong += violations(left, None, seen[: seen.rfind("\n") + 1])
        self._world.start_device()

    def _last_words(self) -> dict[str, Any]:
        """The device's own summary, when it has ended all its frames."""
        if not self._world.durable:
            return self._world.device.event("done", DONE_S)
        if not _within(DONE_S, lambda: self._sender.acknowledged <= answered(self._world.answers)):
            missing = sorted(self._sender.acknowledged - answered(self._world.answers))
            self._wrong.append(f"acknowledged and never answered: {missing}")
        self._world.device.ask_to_stop()
        return self._world.device.event("done", DONE_S)


def _within(seconds: float, holds: Callable[[], bool]) -> bool:
    until_s = time.monotonic() + seconds
    while not holds():
        if time.monotonic() >= until_s:
            return False
        time.sleep(_LOOK_S)
    return True


def report(seed: int, folder: Path, bundle: TinyBundle) -> dict[str, Any]:
    """What became of a run: the seed, how long it took, and everything that was wrong."""
    began_s = time.monotonic()
    try:
        wrong = run(seed, folder, bundle)
    except ChildError as exc:
        wrong = [str(exc)]
    return {"seed": seed, "wrong": wrong, "seconds": round(time.monotonic() - began_s, 1)}


def line_of(told: dict[str, Any]) -> bytes:
    """A report as one line that a pipe takes in one piece."""
    shown = [one[:400] for one in told["wrong"][:6]]
    return json.dumps(told | {"wrong": shown}).encode() + b"\n"
