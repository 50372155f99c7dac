"""Backends by name."""

from __future__ import annotations

from testbed.backends import docker, netns
from testbed.backends.backend import Backend
from testbed.backends.calibration import Calibration
from testbed.backends.process import ProcessBackend
from testbed.backends.simulated.backend import SimulatedBackend
from testbed.errors import ScenarioError
from testbed.names import nearest


def backend_named(name: str, timings: Calibration | None = None) -> Backend:
    """A backend.

    Args:
        timings: for `simulated`; the others take their own time.

    Raises:
        ScenarioError: there is none of this name.
    """
    others = (
        ProcessBackend("netns", netns.namespaces, netns.why_not, packets=True),
        ProcessBackend("docker", docker.containers, docker.why_not, no_broker=docker.no_broker),
    )
    backends: dict[str, Backend] = {one.name: one for one in (ProcessBackend(), *others, SimulatedBackend(timings))}
    if name not in backends:
        raise ScenarioError(f"there is no backend {name!r}; {nearest(name, backends)}")
    return backends[name]
