"""The real programs, each a process of its own, joined by a network: emulated links, or what another backend lays."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from testbed import broker
from testbed.backends.agenda import Agenda
from testbed.backends.backend import DeviceOutcome, Line, Outcome, Told, packet_refusals
from testbed.backends.network import Lay, Network, loopback
from testbed.backends.stage import ProcessStage
from testbed.hindsight import slowdown_for
from testbed.processes import HERE, Child, Children, Place
from testbed.programs import Lines, start_link, start_program
from testbed.scenarios.faults.partition import BACKHAUL
from testbed.scenarios.material import Material
from testbed.scenarios.scenario import DeviceTable, Played, Scenario
from testbed.setting import Power, Setting

LOOK_S = 0.05
"""How often it is looked whether something is due."""
PATIENCE_S = 120.0
"""How long a device may take to end its frames after its last deadline."""
AFTER_S = 0.3
"""Devices go on for so long after the last deadline, so that every frame in the scenario's time ends as it would."""


@dataclass(frozen=True, slots=True)
class ProcessBackend:
    """`process` needs no more than the programs themselves; other networks under other names.

    Attributes:
        lay: lays the network for a repetition.
        why_not: why this machine cannot; empty if it can.
        packets: whether what it lays has packets to lose.
        no_broker: why no broker can run in it on this machine; empty if one can.
    """

    name: str = "process"
    lay: Lay = loopback
    why_not: Callable[[], str] = lambda: ""
    packets: bool = False
    no_broker: Callable[[], str] = broker.why_not

    def refusals(self, scenario: Scenario) -> list[str]:
        return [] if self.packets else packet_refusals(scenario)

    def play(self, scenario: Scenario, material: Material, folder: Path, repetition: int, told: Told) -> Outcome:
        played = scenario.played(repetition)
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        with self.lay(scenario, played, material, folder) as network, Children(folder / "logs") as children:
            told("starting the programs")
            paces = _Paces(children, folder, scenario, material, network)
            slowdowns = {name: paces.slowdown(name, table) for name, table in scenario.device.items()}
            stage = ProcessStage(children, folder, scenario, material, network)
            stage.start_tiers(played.links[BACKHAUL])
            links = _start_links(children, folder, stage, scenario, played, network)
            devices = _devices(stage, scenario, slowdowns, links)
            stage.start_playing()
            for link in links.values():
                link.tell("start")
            started_s = min(link.event("started", PATIENCE_S)["monotonic_s"] for link in links.values())
            network.start(started_s)
            agenda = Agenda(scenario.fault, played.occurrences, stage, told)
            last_s = scenario.seconds + max(table.deadline_s for table in scenario.device.values()) + AFTER_S
            told(f"playing {last_s:.0f} s")
            _watch(stage, agenda, started_s, last_s)
            agenda.close(time.monotonic() - started_s)
            outcomes = _ended(scenario, devices, started_s)
            stage.require_alive()
            records = {name: _record(folder, name) for name in links}
        return Outcome(outcomes, records, agenda.happened)


@dataclass(frozen=True, slots=True)
class _Paces:
    """How much devices have to be slowed down where they will run."""

    children: Children
    folder: Path
    scenario: Scenario
    material: Material
    network: Network

    def slowdown(self, name: str, table: DeviceTable) -> float:
        """As the table says, or so that the whole model takes as long as it says."""
        if table.slowdown is not None:
            return table.slowdown
        assert table.whole_model_s is not None
        there = partial(pace, self.children, self.folder, label=f"pace-{name}", place=self.network.near(table.link))
        return slowdown_for(setting_of(self.scenario, table, self.material), table.whole_model_s, there)


def pace(
    children: Children, folder: Path, bundle: Path, items: Sequence[Path], *, label: str, place: Place = HERE
) -> float:
    """What `testbed.pace` says in a place: processor seconds of the whole model on these inputs."""
    asked = {"bundle": bundle.resolve(), "items": [item.resolve() for item in items]}
    program = start_program(children, "testbed.pace", folder, asked, label=label, place=place)
    return float(program.ready["whole_model_s"])


def setting_of(scenario: Scenario, table: DeviceTable, material: Material, repetition: int = 0) -> Setting:
    """A device table in the terms of comparisons, its link as it is in this repetition."""
    link = scenario.played(repetition).links[table.link]
    return Setting(
        bundle=material.bundle,
        inputs=material.inputs,
        labels=material.labels,
        uplink=link.uplink,
        downlink=link.downlink,
        frames=max(round(scenario.seconds * table.rate_hz), 1),
        rate_hz=table.rate_hz,
        deadline_s=table.deadline_s,
        slowdown=table.slowdown or 1.0,
        cloud_extra_s=scenario.cloud.extra_delay_s if scenario.cloud else 0.0,
        measure_s=table.measure_s,
        power=None if table.power is None else Power(**table.power.model_dump()),
    )


def _start_links(
    children: Children, folder: Path, stage: ProcessStage, scenario: Scenario, played: Played, network: Network
) -> dict[str, Child]:
    extra_s = {"cloud": scenario.cloud.extra_delay_s} if scenario.cloud else {}
    left = {name: network.left(name, link) for name, link in played.links.items()}
    return {
        name: start_link(
            children,
            f"link-{name}",
            folder,
            link.uplink,
            link.downlink,
            stage.targets,
            extra_s,
            [one for one in link.conditions if one.forward in (None, *stage.targets)],
            host=network.host(name),
            place=network.far(),
        )
        for name, link in left.items()
        if name != BACKHAUL
    }


class _Device:
    """A running device and when it began."""

    def __init__(self, name: str, table: str, child: Child, history: Path) -> None:
        self.name, self.table, self.child = name, table, child
        self.history = history
        self.ready_s = 0.0

    def await_ready(self) -> None:
        self.child.ready = self.child.event("ready", PATIENCE_S)
        self.ready_s = time.monotonic()


def _devices(
    stage: ProcessStage, scenario: Scenario, slowdowns: Mapping[str, float], links: Mapping[str, Child]
) -> list[_Device]:
    """Start all devices and wait until they are ready.

    Each captures from its own ready line on; what it captured before the links started does not count.
    """
    devices = []
    for name, table in scenario.device.items():
        for number in range(1, table.count + 1):
            label = name if table.count == 1 else f"{name}-{number}"
            child, history = stage.start_device(label, name, table, slowdowns[name], links[table.link].ready["ports"])
            devices.append(_Device(label, name, child, history))
            devices[-1].await_ready()
    return devices


def _watch(stage: ProcessStage, agenda: Agenda, started_s: float, last_s: float) -> None:
    """Do what the agenda says until the time is up.

    Raises:
        ChildError: a program ended that should not.
    """
    while (now_s := time.monotonic() - started_s) < last_s:
        agenda.do(now_s)
        stage.require_devices()
        time.sleep(max(min(LOOK_S, agenda.next_s - now_s, last_s - now_s), 0.0))
    agenda.do(last_s)  # on a machine that let this process wait for long, what is overdue still happens


def _ended(scenario: Scenario, devices: list[_Device], started_s: float) -> list[DeviceOutcome]:
    for device in devices:
        device.child.ask_to_stop()
    return [_outcome(scenario, device, started_s) for device in devices]


def _outcome(scenario: Scenario, device: _Device, started_s: float) -> DeviceOutcome:
    done = device.child.event("done", PATIENCE_S)
    device.child.wait(PATIENCE_S)
    lines = [line for line in Lines(device.history).new() if not line["late"]]
    first_s = min((line["captured_s"] for line in lines), default=0.0)
    offset_s = device.ready_s - started_s - first_s
    moved: list[Line] = [{**line, "captured_s": round(line["captured_s"] + offset_s, 6)} for line in lines]
    inside = [line for line in moved if 0 <= line["captured_s"] < scenario.seconds]
    captured = len({line["frame"] for line in inside}) + int(done["lost"])
    return DeviceOutcome(device.name, device.table, inside, captured)


def _record(folder: Path, name: str) -> list[Line]:
    return [line for line in Lines(folder / f"link-{name}.jsonl").new() if "at_s" in line]
