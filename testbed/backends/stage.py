"""The running programs of a scenario, as faults act on them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from testbed.backends.certificates import Certificates
from testbed.backends.network import LOOPBACK, Network
from testbed.disk import Disk, DiskState
from testbed.errors import ChildError
from testbed.processes import Child, Children
from testbed.programs import start_link, start_program
from testbed.scenarios.faults import Fault
from testbed.scenarios.faults.clock import Clock
from testbed.scenarios.faults.corrupt_file import CorruptFile
from testbed.scenarios.faults.disk_full import DiskFull
from testbed.scenarios.faults.expired_certificate import ExpiredCertificate
from testbed.scenarios.faults.partition import BACKHAUL
from testbed.scenarios.faults.slow_disk import SlowDisk
from testbed.scenarios.material import Material
from testbed.scenarios.scenario import BROKER, DeviceTable, PlayedLink, Scenario

GROUP: Final = "tier"
"""Of the workers at a broker."""
BROKER_TRIES: Final = 5


class ProcessStage:
    """Starts, ends and restarts programs.

    Args:
        children: what they are started in.
        folder: for their files.
        network: between them.
    """

    def __init__(
        self, children: Children, folder: Path, scenario: Scenario, material: Material, network: Network
    ) -> None:
        self._children = children
        self._folder = folder
        self._scenario = scenario
        self._material = material
        self._network = network
        self._programs: dict[str, list[Child]] = {}
        self._killed: set[str] = set()
        self._refusing: dict[str, Child] = {}
        self._ports: dict[str, int] = {}
        self._above: dict[str, object] | None = None
        self._starts = 0
        self._ahead_s: dict[str, float] = {}
        self._jumping = self._targets_of(Clock)
        self._rotting = self._targets_of(CorruptFile)
        self._disks = {name: Disk(folder / f"{name}.disk") for name in self._targets_of(DiskFull, SlowDisk)}
        self._certified = self._targets_of(ExpiredCertificate)
        self._certificates = Certificates(folder / "certificates") if self._certified else None

    @property
    def targets(self) -> dict[str, str]:
        """host:port of each tier, or of the broker before it, without a radio in front of it."""
        ports = {tier: self._ports[tier] for tier in self._scenario.tiers if tier in self._ports}
        if self._scenario.broker is not None:
            ports[self._scenario.broker.tier] = self._ports[BROKER]
        return {tier: f"{LOOPBACK}:{port}" for tier, port in ports.items()}

    def start_tiers(self, backhaul: PlayedLink) -> None:
        """Start the broker, the cloud, the link from edge to cloud, and the edge, as far as the scenario has them."""
        if self._scenario.broker is not None:
            self._ports[BROKER] = self._first_broker().ready["port"]
        for tier in reversed(self._scenario.tiers):
            child = self._start_tier(tier, self._material.bundle, 0)
            self._ports[tier] = child.ready["port"]
            if tier == "cloud" and "edge" in self._scenario.tiers:
                far = start_link(
                    self._children, BACKHAUL, self._folder, backhaul.uplink, backhaul.downlink,
                    {"cloud": f"{LOOPBACK}:{self._ports['cloud']}"},
                    conditions=backhaul.conditions, place=self._network.far(),
                )  # fmt: skip
                self._backhaul = far
                self._above = self._dial("edge", "cloud", LOOPBACK, far.ready["ports"]["cloud"])

    def start_device(
        self, label: str, name: str, table: DeviceTable, slowdown: float, ports: Mapping[str, int]
    ) -> tuple[Child, Path]:
        """Start a device without waiting for it; also gives the path of its history."""
        history = self._folder / f"{label}.history.jsonl"
        host = self._network.host(table.link)
        settings: dict[str, Any] = {
            "name": label,
            "bundle": self._bundle(name),
            "deadline_s": table.deadline_s,
            "emulated_slowdown": slowdown,
            "measure_s": table.measure_s,
            "source": {"path": self._material.inputs.resolve(), "rate_hz": table.rate_hz},
            "policy": table.policy.model_dump(exclude_unset=True, exclude_none=True),
            "history": {"path": history},
        }
        if name in self._disks:
            settings["spool"] = {"path": self._disks[name].folder / f"{label}.db"}
        for tier in self._scenario.tiers:
            settings[tier] = self._dial(label, tier, host, ports[tier])
            if self._scenario.broker is not None and self._scenario.broker.tier == tier:
                settings[tier]["group"] = GROUP
        if len(self._scenario.tiers) > 1:
            settings["edge"] = {**settings["edge"], "passes_on": True}
        child = start_program(
            self._children, "device", self._folder, settings, label=label, ready=None, through=self._through(name),
            place=self._network.near(table.link),
        )  # fmt: skip
        self._programs.setdefault(name, []).append(child)
        return child, history

    def start_playing(self) -> None:
        """Let the link between edge and cloud play its conditions from now on."""
        if self._above is not None:
            self._backhaul.tell("start")

    def programs(self, target: str) -> list[Child]:
        return self._programs[target]

    def kill(self, target: str) -> None:
        self._killed.add(target)
        for child in self._programs[target]:
            child.kill()

    def start(self, target: str) -> None:
        refused = self._refusing.pop(target, None)
        if refused is not None:
            self._require_refused(refused)
        self._killed.discard(target)
        if target == BROKER:
            self._start_broker(self._ports[target], ready=None)
        else:
            self._start_tier(target, self._bundle(target), self._ports[target], ready=None)

    def start_with_bad_bundle(self, tier: str) -> None:
        self._refusing[tier] = self._start_tier(tier, self._bad_bundle(), self._ports[tier], ready=None)

    def jump(self, target: str, seconds: float) -> None:
        self._ahead_s[target] = self._ahead_s.get(target, 0.0) + seconds
        self._clock(target).write_text(str(self._ahead_s[target]), encoding="ascii")
        for child in self._programs[target]:
            child.notify()

    def set_disk(self, target: str, state: DiskState) -> None:
        self._disks[target].become(state)

    def starve(self, tier: str, spare_bytes: int) -> None:
        self._killed.add(tier)
        for child in self._programs[tier]:
            child.limit_memory(spare_bytes)

    def feed(self, tier: str) -> None:
        for child in self._programs[tier]:
            child.limit_memory(None)
            if child.exit_code is not None:
                self.start(tier)
        self._killed.discard(tier)

    def turn_bit(self, target: str) -> None:
        _turn_bit(self._bundle(target))

    def expire(self, tier: str) -> None:
        assert self._certificates is not None
        self.kill(tier)
        self._certificates.sign(tier, expired=True)
        self.start(tier)

    def renew(self, tier: str) -> None:
        assert self._certificates is not None
        self._certificates.sign(tier)

    def require_devices(self) -> None:
        """All devices run.

        Raises:
            ChildError: one has ended.
        """
        for name in self._scenario.device:
            for child in self._programs.get(name, []):
                if child.exit_code is not None:
                    raise ChildError(f"{child.name!r} ended with exit code {child.exit_code}:\n{child.log_tail()}")

    def require_alive(self) -> None:
        """All tiers that no fault has taken away run, and all that should have refused to start have.

        Raises:
            ChildError: otherwise.
        """
        for refused in self._refusing.values():
            self._require_refused(refused)
        for tier in self._ports:
            for child in self._programs[tier]:
                if tier not in self._killed and child.exit_code is not None:
                    raise ChildError(f"{child.name!r} ended with exit code {child.exit_code}:\n{child.log_tail()}")

    def _require_refused(self, child: Child) -> None:
        if child.exit_code is None and child.has_said("ready"):
            raise ChildError(f"{child.name!r} serves a damaged bundle; it should have refused to start")
        child.kill()

    def _start_tier(self, tier: str, bundle: Path, port: int, *, ready: str | None = "ready") -> Child:
        table = getattr(self._scenario, tier)
        settings: dict[str, object] = {
            "bundles": [bundle],
            "listen": {"port": port},
            "workers": table.workers,
            "emulated_slowdown": table.slowdown,
        }
        if tier in self._certified and self._certificates is not None:
            settings["listen"] = {"port": port, "tls": self._certificates.listen(tier)}
        if self._scenario.broker is not None and self._scenario.broker.tier == tier:
            settings["broker"] = {"target": f"{LOOPBACK}:{self._ports[BROKER]}", "group": GROUP}
        if tier == "edge" and self._above is not None:
            settings["cloud"] = self._above
        self._starts += 1
        child = start_program(
            self._children, tier, self._folder, settings, label=f"{tier}-{self._starts}", ready=ready,
            through=self._through(tier), place=self._network.far(),
        )  # fmt: skip
        self._programs[tier] = [child]
        return child

    def _first_broker(self) -> Child:
        """On a port that nobody else has taken in the moment between its being found free and its being opened."""
        for _ in range(BROKER_TRIES - 1):
            with suppress(ChildError):
                return self._start_broker(0)
        return self._start_broker(0)

    def _start_broker(self, port: int, *, ready: str | None = "ready") -> Child:
        self._starts += 1
        place, command = self._network.broker()
        settings = {"folder": self._folder, "port": port, "command": command}
        child = start_program(
            self._children, "testbed.broker", self._folder, settings, label=f"{BROKER}-{self._starts}", ready=ready,
            place=place,
        )  # fmt: skip
        self._programs[BROKER] = [child]
        return child

    def _targets_of(self, *kinds: type[Fault]) -> set[str]:
        """What faults of these kinds are to meet."""
        return {fault.target for fault in self._scenario.fault.values() if isinstance(fault, kinds)}

    def _dial(self, caller: str, tier: str, host: str, port: int) -> dict[str, object]:
        """A caller's table for a tier."""
        table: dict[str, object] = {"target": f"{host}:{port}"}
        if tier in self._certified and self._certificates is not None:
            table["tls"] = self._certificates.dial(caller, tier)
        return table

    def _through(self, target: str) -> list[str]:
        """What its programs are run through, for faults to reach them."""
        disk = self._disks[target].through if target in self._disks else ()
        clock = ["testbed.shifted", str(self._clock(target))] if target in self._jumping else []
        return [*disk, *clock]

    def _clock(self, target: str) -> Path:
        return self._folder / f"{target}.clock"

    def _bundle(self, target: str) -> Path:
        """The bundle that its programs use: a copy of its own where that is to rot."""
        return self._copy(f"{target}.bundle") if target in self._rotting else self._material.bundle.resolve()

    def _bad_bundle(self) -> Path:
        """A copy of the bundle with one bit turned."""
        bad = self._folder / "bad.bundle"
        if not bad.exists():
            _turn_bit(self._copy(bad.name))
        return bad

    def _copy(self, name: str) -> Path:
        copy = self._folder / name
        if not copy.exists():
            shutil.copytree(self._material.bundle, copy)
        return copy


def _turn_bit(bundle: Path) -> None:
    """In the middle of its largest file, in place."""
    largest = max((path for path in bundle.iterdir() if path.is_file()), key=lambda path: path.stat().st_size)
    with largest.open("r+b") as file:
        file.seek(largest.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
