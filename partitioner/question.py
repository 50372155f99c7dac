"""Where shall a bundle run, and what matters? From profiles, links and a goal to a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from partitioner.chains import chain_of
from partitioner.errors import InvalidSetting, ProfileUnusable
from partitioner.planned import Planned
from partitioner.planning.choices import GOALS
from partitioner.planning.links import parse_link, told
from partitioner.planning.network import Link, Tier
from partitioner.profiling.lookup import measured_here, on_machine
from partitioner.profiling.machine import MachineProfile
from partitioner.profiling.timing import Effort, measure_machine
from runtime.bundle import Bundle
from runtime.engines import engine_named

PROGRAMS_S = 0.003
"""About what a frame takes in the programs at both ends of a link besides computing: event loops, sockets, threads.
`isthmus bench predictions` measures it; a slower device takes longer."""

Machine = MachineProfile | Path | str | float | None
"""A profile; its file; a number: this machine, so many times slower; None: this machine as it is."""


@dataclass(frozen=True)
class Question:
    """Where a model shall run, and what matters.

    Attributes:
        links: one per tier above the device, as `planning.links` reads them.
        edge: False for two tiers; else the machine between device and cloud.
        goal: "latency", "energy", "bytes" or "throughput".
        limits: largest values by figure, least ones for "accuracy"; see `planning.choices.Choices`.
        any_order: also look for a cut that is none of the model's execution order; see `partitioner.assignment`.
        programs_s: what each link costs a frame in the programs at its ends.

    Raises:
        InvalidSetting, ProfileUnusable: links, goal or profiles that are none; before anything is measured.
    """

    device: Machine = None
    edge: Machine | bool = False
    cloud: Machine = None
    links: tuple[str | Link, ...] = ()
    goal: str = "latency"
    limits: Mapping[str, float] | None = None
    effort: Effort | None = None
    any_order: bool = False
    programs_s: float = PROGRAMS_S

    def __post_init__(self) -> None:
        if self.goal not in GOALS:
            raise InvalidSetting(f"there is no goal {self.goal!r}; choose one of {', '.join(GOALS)}")
        names = [name for name, _ in self.machines]
        if len(self.parsed_links) != len(names) - 1:
            raise InvalidSetting(
                f"{len(names)} tiers ({', '.join(names)}) have {len(names) - 1} links between them and "
                f"{len(self.parsed_links)} were given; name one per tier above the device"
            )

    @cached_property
    def parsed_links(self) -> tuple[Link, ...]:
        """From the device upwards."""
        links = [parse_link(link) if isinstance(link, str) else link for link in self.links]
        return tuple(replace(link, hop_s=link.hop_s or self.programs_s) for link in links)

    @cached_property
    def machines(self) -> tuple[tuple[str, MachineProfile | float | None], ...]:
        """The tiers from the device upwards, files read."""
        edge = () if self.edge is False else (("edge", None if self.edge is True else self.edge),)
        tiers = (("device", self.device), *edge, ("cloud", self.cloud))
        return tuple(
            (name, MachineProfile.load(machine) if isinstance(machine, str | Path) else machine)
            for name, machine in tiers
        )


def plan_bundle(bundle: Bundle, question: Question) -> Planned:
    """The best way to run a bundle; it is measured on this machine first.

    Raises:
        ProfileUnusable: a profile that cannot be read, or lacks what the plan needs.
        NoFeasiblePlan: names the limit that rules out the last way.
        InvalidSetting: links, goal or limits that do not fit.
    """
    links = question.parsed_links
    here = measure_machine([bundle], engine_named("onnxruntime", 1), effort=question.effort)
    profiles = [(name, _profile_of(machine, here)) for name, machine in question.machines]
    (local,) = here.models
    machines = [
        measured_here(local, "this machine, onnxruntime, 1 thread") if profile is None else on_machine(profile, local)
        for _, profile in profiles
    ]
    device = profiles[0][1]
    needs_power = question.goal == "energy" or "joules" in (question.limits or {})
    if needs_power and (device is None or device.power is None):
        raise ProfileUnusable(
            "the device's profile states no power, so no plan can count joules; "
            "make it again with isthmus profile --watts W"
        )
    tiers = tuple(
        Tier(name, profile.power.watts if profile is not None and profile.power is not None else 0.0, machine.source)
        for (name, profile), machine in zip(profiles, machines, strict=True)
    )
    chain = chain_of(bundle.manifest, machines, tiers, links)
    sources = {name: f"{machine.source}: {machine.told}" for (name, _), machine in zip(profiles, machines, strict=True)}
    sources |= {
        "link" if len(links) == 1 else f"link {number}": f"{link.source}: {told(link)}"
        for number, link in enumerate(links)
    }
    if device is not None and device.power is not None:
        sources["power"] = f"{device.power.source}: {device.power.watts:g} W of the device"
    sources["memory"] = (
        "predicted: weights, and the largest tensors in and out"
        if machines[0].peak_bytes is None
        else "measured: peak of a process on the device"
    )
    return Planned(bundle.manifest.model_id, chain, question.goal, question.limits or {}, sources)


def _profile_of(machine: MachineProfile | float | None, here: MachineProfile) -> MachineProfile | None:
    if isinstance(machine, int | float):
        if not 0 < machine < float("inf"):
            raise ProfileUnusable(f"a machine {machine} times slower than this one is none; give a number above 0")
        return here.slowed(machine)
    return machine
