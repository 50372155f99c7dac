"""A scenario's settings: one TOML file, checked as a whole. See docs/testbed.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from device.settings import PolicySettings
from runtime.settings import load_settings
from testbed.figures import DEFINITIONS
from testbed.link.conditions import Condition
from testbed.link.settings import DirectionSettings
from testbed.names import checks_kind, require
from testbed.packets.conditions import Bursts, Corrupt, Duplicate, Jitter, Loss, Reorder
from testbed.packets.queues import Discipline
from testbed.scenarios.faults import AnyFault, Fault, Occurrence
from testbed.scenarios.faults.partition import BACKHAUL, Partition
from testbed.scenarios.rates import Direction, Drawn

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
"""Of a table: small letters, digits and hyphens."""

TIERS = ("edge", "cloud")
BROKER = "broker"

PacketCondition = Annotated[
    Bursts | Corrupt | Duplicate | Jitter | Loss | Reorder,
    Field(discriminator="kind"),
    BeforeValidator(checks_kind("bursts", "corrupt", "duplicate", "jitter", "loss", "reorder")),
]
"""Of those in `testbed.packets.conditions`, the ones that a link's rate and delay do not say already."""

MORE_FIGURES: Mapping[str, str] = {
    "answered": "share of all captured frames that were answered, in time or not",
    "by_device": "share of the answers that the device gave alone",
    "by_edge": "share of the answers that the edge gave",
    "by_cloud": "share of the answers that the cloud gave",
    "joules_per_frame": "what devices spend on a captured frame, by the watts and joules that the scenario gives",
    "fairness": "Jain's index over the devices' shares of frames answered in time: 1 if they are alike, 1/n if one "
    "device has everything",
}
"""Figures of a scenario besides those of a comparison."""

FIGURES: Mapping[str, str] = {**DEFINITIONS, **MORE_FIGURES}


class Table(BaseModel):
    """Frozen, and strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PowerTable(Table):
    """`[device.NAME.power]`: what a device spends; see `testbed.setting.Power`."""

    compute_w: Annotated[float, Field(gt=0, le=1000)]
    send_j_per_mb: Annotated[float, Field(ge=0, le=1e6)] = 0.0


class DeviceTable(Table):
    """`[device.NAME]`: devices that are alike."""

    link: str
    count: Annotated[int, Field(ge=1, le=64)] = 1
    rate_hz: Annotated[float, Field(gt=0, le=100)] = 10.0
    deadline_s: Annotated[float, Field(gt=0, le=10)] = 0.25
    slowdown: Annotated[float, Field(ge=1, le=1000)] | None = None
    """How many times slower than this machine it computes."""
    whole_model_s: Annotated[float, Field(gt=0, le=60)] | None = None
    """Or: how long the whole model takes on it; the slowdown is measured from that."""
    policy: PolicySettings = PolicySettings()
    measure_s: Annotated[float, Field(gt=0, le=10)] = 1.0
    """Spent on timing its parts before the first frame."""
    power: PowerTable | None = None
    """Without it, nothing is said of energy."""

    @model_validator(mode="after")
    def _one_speed(self) -> Self:
        if (self.slowdown is None) == (self.whole_model_s is None):
            raise ValueError("the device's speed is open; give one of slowdown and whole_model_s")
        return self


class TierTable(Table):
    """`[edge]`: a tier."""

    workers: Annotated[int, Field(ge=1, le=64)] = 1
    slowdown: Annotated[float, Field(ge=1, le=1000)] = 1.0


class CloudTable(TierTable):
    """`[cloud]`."""

    extra_delay_s: Annotated[float, Field(ge=0, le=10)] = 0.02
    """One way, how much farther than the edge it is; between edge and cloud too."""


class BrokerTable(Table):
    """`[broker]`: an MQTT broker between the devices and one tier."""

    tier: Literal["edge", "cloud"] = "edge"


class LinkTable(Table):
    """`[link.NAME]`: one radio link, shared by all devices that name it."""

    uplink: Direction
    downlink: Direction | None = None
    """Without it, moment for moment like the uplink."""
    condition: Annotated[dict[Name, Condition], Field(max_length=16)] = {}
    packet: Annotated[dict[Name, PacketCondition], Field(max_length=16)] = {}
    """What befalls packets, both ways, behind the bottleneck; on a backend that has packets."""
    queue: Discipline = "drop-tail"
    """Of what waits in front of the bottleneck, each way; "codel" on a backend that has packets."""


class ExpectTable(Table):
    """`[expect.NAME]`: what must hold in every repetition."""

    figure: str
    at_most: float | None = None
    at_least: float | None = None
    device: str | None = None
    """Of the devices of this table alone; without it, over all of them."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        require(self.figure, FIGURES, "figure")
        if self.at_most is None and self.at_least is None:
            raise ValueError("nothing is expected of it; give at_most, at_least or both")
        return self

    def holds(self, value: float) -> bool:
        """Whether a figure is within the bounds."""
        return (self.at_most is None or value <= self.at_most) and (self.at_least is None or value >= self.at_least)


@dataclass(frozen=True, slots=True)
class PlayedLink:
    """A link as the emulator plays it, faults of the network included."""

    uplink: DirectionSettings
    downlink: DirectionSettings
    conditions: tuple[Condition, ...]
    packets: tuple[PacketCondition, ...] = ()
    queue: Discipline = "drop-tail"
    seed: int = 0
    """Of the chance in what befalls packets."""


@dataclass(frozen=True, slots=True)
class Played:
    """What one repetition of a scenario comes to, all chance drawn.

    Attributes:
        links: by name, `BACKHAUL` among them.
        occurrences: of all faults, in order of time.
    """

    links: Mapping[str, PlayedLink]
    occurrences: tuple[Occurrence, ...]


class Scenario(Table):
    """The whole file."""

    about: Annotated[str, Field(min_length=1, max_length=400)]
    """What it shows, in a sentence or two."""
    seconds: Annotated[float, Field(gt=0, le=3600)]
    """Frames are captured for so long."""
    seed: Annotated[int, Field(ge=0)] = 1
    repetitions: Annotated[int, Field(ge=1, le=100)] = 1
    """Each with its own seed: `seed`, `seed + 1`, ..."""
    backends: tuple[Literal["process", "netns", "docker", "simulated"], ...] = (
        "process",
        "netns",
        "docker",
        "simulated",
    )
    """Where it may run; a backend also says by itself what it cannot play."""
    bundle: str = "digits"
    """The name of a built-in bundle, or a path beside this file."""
    inputs: Path | None = None
    """For a bundle given by its path: a folder of items, ..."""
    labels: Path | None = None
    """... and a JSON object of file name to right answer."""
    device: Annotated[dict[Name, DeviceTable], Field(min_length=1)]
    edge: TierTable | None = None
    cloud: CloudTable | None = None
    broker: BrokerTable | None = None
    link: Annotated[dict[Name, LinkTable], Field(min_length=1)]
    fault: dict[Name, AnyFault] = {}
    expect: dict[Name, ExpectTable] = {}

    @property
    def tiers(self) -> list[str]:
        """Those that it has."""
        return [name for name in TIERS if getattr(self, name) is not None]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.tiers:
            raise ValueError("it has no tier; add [edge], [cloud] or both")
        if BACKHAUL in self.link:
            raise ValueError(f"link.{BACKHAUL} is the name of the link between edge and cloud; choose another")
        if self.broker is not None:
            _require(self.broker.tier, self.tiers, "tier", "broker.tier")
        for name, device in self.device.items():
            _require(device.link, self.link, "link", f"device.{name}.link")
        for name, link in self.link.items():
            for condition, table in link.condition.items():
                if table.forward is not None:
                    _require(table.forward, self.tiers, "tier", f"link.{name}.condition.{condition}.forward")
        for name, fault in self.fault.items():
            self._check_fault(name, fault)
        for name, expect in self.expect.items():
            if expect.device is not None:
                _require(expect.device, self.device, "device", f"expect.{name}.device")
            self._check_power(name, expect)
        return self

    def _check_fault(self, name: str, fault: Fault) -> None:
        known = {"tier": self.tiers, "device": [*self.device], "broker": [BROKER] if self.broker else []}
        targets = [target for group in fault.reaches for target in known[group]]
        _require(fault.target, targets, " or ".join(filter(known.get, fault.reaches)), f"fault.{name}.target")
        if isinstance(fault, Partition):
            _require(fault.link, [*self.link, BACKHAUL], "link", f"fault.{name}.link")
            if fault.link == BACKHAUL and (fault.target != "cloud" or len(self.tiers) < len(TIERS)):
                raise ValueError(f"fault.{name}: the backhaul leads from an edge to the cloud; set target to 'cloud'")

    def _check_power(self, name: str, expect: ExpectTable) -> None:
        asked = [expect.device] if expect.device is not None else list(self.device)
        unknown = [device for device in asked if self.device[device].power is None]
        if expect.figure == "joules_per_frame" and unknown:
            raise ValueError(
                f"expect.{name}: nothing is known of the energy of {unknown[0]!r}; add device.{unknown[0]}.power"
            )

    def played(self, repetition: int = 0) -> Played:
        """Draw all that is left to chance; the same for the same seed and repetition.

        Raises:
            TraceError: a trace cannot be read.
        """
        seed = self.seed + repetition
        occurrences: list[Occurrence] = []
        stalls: dict[str, list[Condition]] = {name: [] for name in [*self.link, BACKHAUL]}
        for name, fault in self.fault.items():
            found = fault.occurrences(name, self.seconds, Random(f"{seed}/fault/{name}"))
            occurrences += found
            for occurrence in found:
                for link, stall in fault.stalls(occurrence):
                    stalls[link].append(stall)
        links = {name: self._link(name, table, seed, stalls[name]) for name, table in self.link.items()}
        far = DirectionSettings(kind="unlimited", delay_s=self.cloud.extra_delay_s if self.cloud else 0.0)
        links[BACKHAUL] = PlayedLink(far, far, tuple(stalls[BACKHAUL]))
        return Played(links, tuple(sorted(occurrences, key=lambda one: one.begins_s)))

    def _link(self, name: str, table: LinkTable, seed: int, stalls: list[Condition]) -> PlayedLink:
        up = _direction(table.uplink, self.seconds, f"{seed}/link/{name}/up")
        down = up if table.downlink is None else _direction(table.downlink, self.seconds, f"{seed}/link/{name}/down")
        conditions = [_seeded(one, f"{seed}/condition/{name}/{key}") for key, one in table.condition.items()]
        return PlayedLink(up, down, (*conditions, *stalls), tuple(table.packet.values()), table.queue, seed)


def _direction(direction: DirectionSettings | Drawn, seconds: float, seed: str) -> DirectionSettings:
    if isinstance(direction, Drawn):
        return direction.played(seconds, Random(seed))
    direction.capacity()
    return direction


def _seeded(condition: Condition, seed: str) -> Condition:
    """A condition whose own chance follows the scenario's."""
    if condition.kind != "jitter":
        return condition
    return condition.model_copy(update={"seed": condition.seed + Random(seed).getrandbits(32)})


def _require(name: str, known: object, what: str, key: str) -> None:
    try:
        require(name, known, what)  # type: ignore[arg-type]
    except ValueError as exc:
        raise ValueError(f"{key} = {name!r}: {exc}") from exc


def read_scenario(path: Path, overrides: Mapping[str, object] | None = None) -> Scenario:
    """Read a file and apply overrides (dotted keys); relative paths in it are taken from its folder.

    Raises:
        SettingsError: a key or value is wrong; the sentence names it, the reason and the nearest valid name.
    """
    found = load_settings(Scenario, path, overrides or {})
    return _beside(found, path.resolve().parent)


def _beside(scenario: Scenario, folder: Path) -> Scenario:
    changes: dict[str, object] = {
        key: folder / value for key in ("inputs", "labels") if (value := getattr(scenario, key)) is not None
    }
    if (folder / scenario.bundle).exists() and "/" in scenario.bundle:
        changes["bundle"] = str(folder / scenario.bundle)
    links = {name: _placed(link, folder) for name, link in scenario.link.items()}
    return scenario.model_copy(update={**changes, "link": links})


def _placed(link: LinkTable, folder: Path) -> LinkTable:
    changes = {
        key: direction.model_copy(update={"path": folder / direction.path})
        for key in ("uplink", "downlink")
        if isinstance(direction := getattr(link, key), DirectionSettings) and direction.path is not None
    }
    return link.model_copy(update=changes)
