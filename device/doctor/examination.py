"""The checks in their order, and what came of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from device.doctor.bundle import bundle_is_sound, bundle_runs, engine_is_there, filter_fits
from device.doctor.case import Case, Environment, Fault
from device.doctor.certificates import certificates_are_good
from device.doctor.clock import clock_is_right
from device.doctor.disk import disk_has_room
from device.doctor.machine import memory_is_enough, versions_are_right
from device.doctor.network import names_resolve, ports_are_open, sinks_are_reachable, tiers_answer
from device.doctor.source import source_gives
from device.settings import Settings, load
from protocol.errors import IsthmusError

LIMIT_S = 9.0
"""For one check."""

Check = Callable[[Case], Awaitable[None]]

CHECKS: dict[str, tuple[Check, bool]] = {
    "clock": (clock_is_right, False),
    "certificates": (certificates_are_good, False),
    "names": (names_resolve, True),
    "ports": (ports_are_open, True),
    "engine": (engine_is_there, False),
    "bundle": (bundle_is_sound, False),
    "model": (bundle_runs, False),
    "filter": (filter_fits, False),
    "tiers": (tiers_answer, True),
    "sinks": (sinks_are_reachable, True),
    "source": (source_gives, False),
    "disk": (disk_has_room, False),
    "memory": (memory_is_enough, False),
    "versions": (versions_are_right, False),
}
"""By name: the check, and whether it needs the network. A check may take it that those before it passed; what the tiers
say comes after the bundle, because they are asked whether they serve it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's outcome."""

    check: str
    fault: str = ""
    """Empty: all is well."""
    fix: str = ""
    seconds: float = 0.0


async def examine(
    configuration: Path | None,
    overrides: Mapping[str, object],
    *,
    network: bool = True,
    first_only: bool = True,
    environment: Environment | None = None,
) -> list[Finding]:
    """Run the checks in order.

    Args:
        configuration: the agent's file.
        overrides: dotted keys.
        network: whether to look beyond this machine.
        first_only: stop at the first fault: what comes after it may only be its effect.
        environment: the machine.
    """
    began_s = time.monotonic()
    settings = _settings(configuration, overrides)
    if isinstance(settings, Finding):
        return [settings]
    findings = [Finding("settings", seconds=time.monotonic() - began_s)]
    case = Case(settings, configuration, environment or Environment())
    for name, (check, needs_network) in CHECKS.items():
        if network or not needs_network:
            findings.append(await _checked(name, check, case))
            if findings[-1].fault and first_only:
                break
    return findings


async def _checked(name: str, check: Check, case: Case) -> Finding:
    began_s = time.monotonic()
    try:
        async with asyncio.timeout(LIMIT_S):
            await check(case)
    except TimeoutError:
        return Finding(name, f"this took more than {LIMIT_S:g} s", "see whether machine or network are overloaded")
    except Fault as exc:
        return Finding(name, exc.told, exc.fix, time.monotonic() - began_s)
    except IsthmusError as exc:
        told, _, fix = str(exc).rpartition("; ")
        return Finding(name, told or str(exc), fix if told else "", time.monotonic() - began_s)
    return Finding(name, seconds=time.monotonic() - began_s)


def _settings(configuration: Path | None, overrides: Mapping[str, object]) -> Settings | Finding:
    try:
        return load(configuration, overrides)
    except IsthmusError as exc:
        told, _, fix = str(exc).rpartition("; ")
        return Finding("settings", told or str(exc), fix if told else "")
