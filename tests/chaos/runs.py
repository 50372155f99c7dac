"""One run: a device, an edge, a cloud and a moving link as programs, and what a seed does to them."""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from testbed import toml
from testbed.errors import ChildError
from testbed.processes import Child, Children
from tests.chaos.checker import violations
from tests.runtime.tiny_bundle import TinyBundle

FRAMES: Final = 60
RATE_HZ: Final = 20.0
DONE_S: Final = 90.0
"""From the last frame's capture to the device's end, at most."""
TIERS: Final = ("edge", "cloud")


def run(seed: int, folder: Path, bundle: TinyBundle) -> list[str]:
    """Do what the seed says; everything that was wrong.

    Raises:
        ChildError: a program did not start.
    """
    with Children(folder) as children:
        return _Run(random.Random(seed), folder, bundle, children).play()


class _Run:
    def __init__(self, chance: random.Random, folder: Path, bundle: TinyBundle, children: Children) -> None:
        self._chance = chance
        self._folder = folder
        self._bundle = bundle
        self._children = children
        self._ports: dict[str, int] = {}
        self._tiers: dict[str, Child] = {}
        self._starts = 0
        self._history = folder / "history.jsonl"
        self._seen = ""
        self._killed = False

    def play(self) -> list[str]:
        for kind in reversed(TIERS):
            self._start_tier(kind)
        self._device = self._start_device(self._start_link())
        until_s = time.monotonic() + FRAMES / RATE_HZ
        actions: list[Callable[[], None]] = [self._kill_tier, self._kill_tier, self._stall_tier, self._stall_tier]
        while time.monotonic() < until_s and not self._killed:
            time.sleep(self._chance.uniform(0.0, 0.8))
            self._chance.choice([*actions, self._kill_device] if self._chance.random() < 0.2 else actions)()
        summary = None if self._killed else self._summary()
        return violations(self._history.read_text(), summary, self._seen)

    def _kill_tier(self) -> None:
        """`kill -9`, and after a while it is there again, on the same port."""
        kind = self._chance.choice(TIERS)
        self._tiers[kind].kill()
        time.sleep(self._chance.uniform(0.0, 0.5))
        self._start_tier(kind)

    def _stall_tier(self) -> None:
        """It stands still with its connections open."""
        tier = self._tiers[self._chance.choice(TIERS)]
        tier.pause()
        time.sleep(self._chance.uniform(0.0, 1.0))
        tier.resume()

    def _kill_device(self) -> None:
        self._seen = self._history.read_text() if self._history.exists() else ""
        self._seen = self._seen[: self._seen.rfind("\n") + 1]
        self._device.kill()
        self._killed = True

    def _summary(self) -> dict[str, Any]:
        return self._device.event("done", DONE_S)

    def _start_tier(self, kind: str) -> None:
        settings = [f'bundles=["{self._bundle.path}"]', f"listen.port={self._ports.get(kind, 0)}"]
        if kind == "edge":
            settings.append(f"cloud.target=127.0.0.1:{self._ports['cloud']}")
        self._starts += 1
        tier = self._children.start(f"{kind}-{self._starts}", [sys.executable, "-m", kind, *settings], timeout_s=60.0)
        self._tiers[kind], self._ports[kind] = tier, tier.ready["port"]

    def _start_link(self) -> dict[str, int]:
        """A link that changes, and is dead now and then: a partition."""
        rates = [0.0, 0.2e6, 1e6, 20e6]
        steps = [[self._chance.uniform(0.1, 0.8), self._chance.choice(rates)] for _ in range(12)]
        way = {"kind": "steps", "steps": [*steps, [1.0, 20e6]], "delay_s": self._chance.uniform(0.0, 0.03)}
        forward = [{"name": kind, "target": f"127.0.0.1:{port}"} for kind, port in self._ports.items()]
        config = self._folder / "link.toml"
        config.write_text(toml.dumps({"uplink": way, "downlink": way, "forward": forward}))
        link = self._children.start("link", [sys.executable, "-m", "testbed.link", str(config)], timeout_s=60.0)
        link.tell("start")
        ports: dict[str, int] = link.ready["ports"]
        return ports

    def _start_device(self, ports: dict[str, int]) -> Child:
        items = self._folder / "items"
        items.mkdir()
        for number, item in enumerate(self._bundle.items):
            np.save(items / f"{number}.npy", item[0])
        config = self._folder / "device.toml"
        config.write_text(
            toml.dumps(
                {
                    "bundle": str(self._bundle.path),
                    "deadline_s": self._chance.choice([0.1, 0.3, 1.0]),
                    "measure_s": 0.05,
                    "emulated_slowdown": self._chance.choice([1.0, 30.0, 300.0]),
                    "source": {
                        "path": str(items),
                        "rate_hz": RATE_HZ,
                        "limit": FRAMES,
                        "keep": self._chance.choice(["latest", "all"]),
                    },
                    "history": {"path": str(self._history)},
                    **{kind: {"target": f"127.0.0.1:{port}"} for kind, port in ports.items()},
                }
            )
        )
        return self._children.start("device", [sys.executable, "-m", "device", str(config)], timeout_s=60.0)


def report(seed: int, folder: Path, bundle: TinyBundle) -> str | None:
    """A sentence for what was wrong in a run, None where nothing was."""
    try:
        wrong = run(seed, folder, bundle)
    except ChildError as exc:
        wrong = [str(exc)]
    return json.dumps({"seed": seed, "wrong": wrong}) if wrong else None
