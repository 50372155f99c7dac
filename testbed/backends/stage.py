"""The running programs of a scenario, as faults act on them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from testbed.backends.network import LOOPBACK, Network
from testbed.errors import ChildError
from testbed.processes import Child, Children
from testbed.programs import start_link, start_program
from testbed.scenarios.faults.clock import Clock
from testbed.scenarios.faults.partition import BACKHAUL
from testbed.scenarios.material import Material
from testbed.scenarios.scenario import DeviceTable, PlayedLink, Scenario


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
        self._jumping = {fault.target for fault in scenario.fault.values() if isinstance(fault, Clock)}

    @property
    def targets(self) -> dict[str, str]:
        """host:port of each tier, without a radio in front of it."""
        return {tier: f"{LOOPBACK}:{port}" for tier, port in self._ports.items()}

    def start_tiers(self, backhaul: PlayedLink) -> None:
        """Start the cloud, the link from edge to cloud, and the edge, as far as the scenario has them."""
        for tier in reversed(self._scenario.tiers):
            child = self._start_tier(tier, self._material.bundle, 0)
            self._ports[tier] = child.ready["port"]
            if tier == "cloud" and "edge" in self._scenario.tiers:
                far = start_link(
                    self._children, BACKHAUL, self._folder, backhaul.uplink, backhaul.downlink, self.targets,
                    conditions=backhaul.conditions, place=self._network.far(),
                )  # fmt: skip
                self._backhaul = far
                self._above = {"target": f"127.0.0.1:{far.ready['ports']['cloud']}"}

    def start_device(
        self, label: str, name: str, table: DeviceTable, slowdown: float, ports: Mapping[str, int]
    ) -> tuple[Child, Path]:
        """Start a device without waiting for it; also gives the path of its history."""
        history = self._folder / f"{label}.history.jsonl"
        host = self._network.host(table.link)
        settings: dict[str, Any] = {
            "name": label,
            "bundle": self._material.bundle.resolve(),
            "deadline_s": table.deadline_s,
            "emulated_slowdown": slowdown,
            "measure_s": table.measure_s,
            "source": {"path": self._material.inputs.resolve(), "rate_hz": table.rate_hz},
            "policy": table.policy.model_dump(exclude_unset=True, exclude_none=True),
            "history": {"path": history},
        }
        for tier in self._scenario.tiers:
            settings[tier] = {"target": f"{host}:{ports[tier]}"}
        if len(self._scenario.tiers) > 1:
            settings["edge"] = {**settings["edge"], "passes_on": True}
        child = start_program(
            self._children, "device", self._folder, settings, label=label, ready=None, jumps=self._jumps(name),
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

    def kill(self, tier: str) -> None:
        self._killed.add(tier)
        for child in self._programs[tier]:
            child.kill()

    def start(self, tier: str) -> None:
        refused = self._refusing.pop(tier, None)
        if refused is not None:
            self._require_refused(refused)
        self._killed.discard(tier)
        self._start_tier(tier, self._material.bundle, self._ports[tier], ready=None)

    def start_with_bad_bundle(self, tier: str) -> None:
        self._refusing[tier] = self._start_tier(tier, self._bad_bundle(), self._ports[tier], ready=None)

    def jump(self, target: str, seconds: float) -> None:
        path = self._jumps(target)
        assert path is not None
        self._ahead_s[target] = self._ahead_s.get(target, 0.0) + seconds
        path.write_text(str(self._ahead_s[target]), encoding="ascii")
        for child in self._programs[target]:
            child.notify()

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
        for tier in self._scenario.tiers:
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
            "bundles": [bundle.resolve()],
            "listen": {"port": port},
            "workers": table.workers,
            "emulated_slowdown": table.slowdown,
        }
        if tier == "edge" and self._above is not None:
            settings["cloud"] = self._above
        self._starts += 1
        child = start_program(
            self._children, tier, self._folder, settings, label=f"{tier}-{self._starts}", ready=ready,
            jumps=self._jumps(tier), place=self._network.far(),
        )  # fmt: skip
        self._programs[tier] = [child]
        return child

    def _jumps(self, target: str) -> Path | None:
        return self._folder / f"{target}.clock" if target in self._jumping else None

    def _bad_bundle(self) -> Path:
        """A copy of the bundle with one byte changed in its largest file."""
        copy = self._folder / "bad.bundle"
        if not copy.exists():
            shutil.copytree(self._material.bundle, copy)
            largest = max((path for path in copy.iterdir() if path.is_file()), key=lambda path: path.stat().st_size)
            content = bytearray(largest.read_bytes())
            content[len(content) // 2] ^= 1
            largest.write_bytes(content)
        return copy
