"""The programs of one run, and the ways between them: a device, an edge, a cloud, a moving link, perhaps a broker."""

from __future__ import annotations

import importlib.util
import random
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import numpy as np

from testbed import toml
from testbed.processes import Child
from tests.chaos.forks import Forks
from tests.ports import reserved_port
from tests.runtime.tiny_bundle import TinyBundle
from tests.transport.broker import MOSQUITTO, Mosquitto, mosquitto

FRAMES: Final = 60
RATE_HZ: Final = 20.0
TIERS: Final = ("edge", "cloud")
WAYS: Final = (
    "grpc",
    "grpc",
    *(["mqtt"] if MOSQUITTO is not None else []),
    *(["datagrams"] if importlib.util.find_spec("aioquic") is not None else []),
)
"""From the device to its edge, as far as this machine has what they need."""


class World:
    """Starts everything as the chance says; `tiers`, `device` and `broker` are there to be ill-treated.

    Attributes:
        durable: whether frames are pushed, and on disk before they are acknowledged; else they are replayed.
        history: of the device that runs now.
        answers: what the sink of a durable device has committed.
    """

    def __init__(
        self, chance: random.Random, folder: Path, bundle: TinyBundle, forks: Forks, opened: ExitStack
    ) -> None:
        self.way = chance.choice(WAYS)
        self.durable = chance.random() < 0.4
        self.history = folder / "history-0.jsonl"
        self.answers = folder / "answers.db"
        self.tiers: dict[str, Child] = {}
        self.broker: Mosquitto | None = None
        self._chance = chance
        self._folder = folder
        self._bundle = bundle
        self._forks = forks
        self._starts = 0
        self._ports = {kind: opened.enter_context(reserved_port()) for kind in ("edge", "cloud")}
        self._edge: list[str] = []
        """Further settings of the edge."""
        self.start_tier("cloud")
        self._make_way(opened)
        self.link = self._start_link()
        self._settings = self._device_settings()
        self.device = self.start_device()

    def start_tier(self, kind: str) -> None:
        """For the first time, or again on the same ports."""
        settings = [f'bundles=["{self._bundle.path}"]', f"listen.port={self._ports[kind]}"]
        if kind == "edge":
            settings += [f"cloud.target=127.0.0.1:{self._ports['cloud']}", *self._edge]
        self._starts += 1
        self.tiers[kind] = self._forks.start(f"{kind}-{self._starts}", kind, settings)

    def start_device(self) -> Child:
        """For the first time, or again with the same spool; each start has a history of its own."""
        self._starts += 1
        self.history = self._folder / f"history-{self._starts}.jsonl"
        config = self._folder / "device.toml"
        config.write_text(toml.dumps(self._settings | {"history": {"path": str(self.history)}}))
        self.device = self._forks.start(f"device-{self._starts}", "device", [str(config)])
        return self.device

    def _make_way(self, opened: ExitStack) -> None:
        """What stands between the link and the edge, and the edge."""
        if self.way == "mqtt":
            folder = self._folder / "broker"
            folder.mkdir()
            self.broker = opened.enter_context(mosquitto(folder))
            self._ports["between"] = self._meddle("mqtt", self.broker.port)
            self._edge = [f"broker.target=127.0.0.1:{self._ports['between']}", "broker.group=edge"]
        elif self.way == "datagrams":
            self._edge = ["listen_datagrams.port=0"]
        self.start_tier("edge")
        if self.way == "datagrams":
            port: int = self.tiers["edge"].ready["datagrams"]
            self._edge = [f"listen_datagrams.port={port}"]
            self._ports["between"] = self._meddle("udp", port)

    def _meddle(self, kind: str, target: int) -> int:
        seed = self._chance.randrange(1 << 30)
        port: int = self._forks.start("meddling", "tests.chaos.meddling", [kind, str(target), str(seed)]).ready["port"]
        return port

    def _start_link(self) -> Child:
        """A link that changes, and is dead now and then: a partition."""
        rates = [0.0, 0.2e6, 1e6, 20e6]
        steps = [[self._chance.uniform(0.1, 0.8), self._chance.choice(rates)] for _ in range(12)]
        way = {"kind": "steps", "steps": [*steps, [1.0, 20e6]], "delay_s": self._chance.uniform(0.0, 0.03)}
        ends = {"cloud": self._ports["cloud"]}
        if self.way != "datagrams":
            ends["edge"] = self._ports["between" if self.way == "mqtt" else "edge"]
        forward = [{"name": kind, "target": f"127.0.0.1:{port}"} for kind, port in ends.items()]
        config = self._folder / "link.toml"
        config.write_text(toml.dumps({"uplink": way, "downlink": way, "forward": forward}))
        link = self._forks.start("link", "testbed.link", [str(config)])
        link.tell("start")
        return link

    def _device_settings(self) -> dict[str, Any]:
        ports = self.link.ready["ports"]
        edge: dict[str, object] = {"target": f"127.0.0.1:{ports.get('edge') or self._ports['between']}"}
        if self.way == "mqtt":
            edge["group"] = "edge"
        elif self.way == "datagrams":
            edge["datagrams"] = True
        common = {
            "bundle": str(self._bundle.path),
            "deadline_s": self._chance.choice([0.1, 0.3, 1.0]),
            "measure_s": 0.05,
            "emulated_slowdown": self._chance.choice([1.0, 30.0, 300.0]),
            "edge": edge,
            "cloud": {"target": f"127.0.0.1:{ports['cloud']}"},
        }
        return common | (self._pushed() if self.durable else self._replayed())

    def _pushed(self) -> dict[str, Any]:
        return {
            "source": {"kind": "push", "durable": True, "rate_hz": RATE_HZ, "keep": "all"},
            "spool": {"path": str(self._folder / "spool.db"), "allowed_s": 5.0, "share": 1.0},
            "sinks": [{"kind": "sqlite", "path": str(self.answers)}],
        }

    def _replayed(self) -> dict[str, Any]:
        items = self._folder / "items"
        items.mkdir()
        for number, item in enumerate(self._bundle.items):
            np.save(items / f"{number}.npy", item[0])
        keep = self._chance.choice(["latest", "all"])
        return {"source": {"path": str(items), "rate_hz": RATE_HZ, "limit": FRAMES, "keep": keep}}
