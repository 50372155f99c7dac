"""Containers: each program runs in one, hardened as in the compose stack, from the same two images.

All containers of a repetition share the network of a first one that does nothing. It has no interface but its loopback,
to which programs without certificates keep, so nothing else reaches them. The proxies of `process` play the links, in
containers too. What is measured is the programs as they are shipped.
"""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

from testbed.backends.network import Loopback, Network
from testbed.errors import TestbedError
from testbed.processes import HERE, Place, started
from testbed.scenarios.material import Material
from testbed.scenarios.scenario import Played, Scenario

TIER, DEVICE = "isthmus-tier:0.1.0", "isthmus-device:0.1.0"
BROKERS = ("isthmus-broker:bookworm", "eclipse-mosquitto:2.0.22")
"""Of either the first that is there, as `compose/prepare.sh` takes them."""
PYTHON = "/opt/isthmus/bin/python"
LABEL = "isthmus.testbed"
"""Its value names the process that runs the scenario."""
HARDENED = (
    "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges:true", "--pids-limit=128", "--memory=512m",
    "--tmpfs=/tmp:size=16m,mode=1777,noexec,nosuid,nodev", "--log-driver=none",
)  # fmt: skip
_numbers = count()


class ContainerError(TestbedError):
    """The engine refused something; the sentence says what."""

    exit_code = 1


def why_not() -> str:
    """Why this machine cannot play it; empty if it can."""
    try:
        known = _images()
    except ContainerError as exc:
        return str(exc)
    missing = [image for image in (TIER, DEVICE) if image not in known]
    return f"the image {missing[0]} is not there; make it: compose/prepare.sh" if missing else ""


def no_broker() -> str:
    """Why no broker can run in it here; empty if one can, or if nothing can."""
    if why_not() or _broker_image():
        return ""
    return f"none of the images {' and '.join(BROKERS)} is there; get one: compose/prepare.sh"


def _broker_image() -> str:
    known = _images()
    return next((image for image in BROKERS if image in known), "")


def _images() -> set[str]:
    return {tag for image in _engine().images.list() for tag in image.tags}


@contextmanager
def containers(scenario: Scenario, played: Played, material: Material, folder: Path) -> Iterator[Network]:
    """Make what the containers of a repetition share; what killed runs have left is removed first.

    Raises:
        ContainerError: the engine does not.
    """
    clean()
    anchor = _run_anchor()
    try:
        shared = [folder, material.bundle.resolve(), material.inputs.resolve()]
        mounts = [f"--volume={path}:{path}" + (":ro" if path != folder else "") for path in dict.fromkeys(shared)]
        yield Containers(anchor.name, mounts)
    finally:
        anchor.remove(force=True)


class Containers(Loopback):
    """A network that is there: one loopback for all."""

    def __init__(self, anchor: str, mounts: list[str]) -> None:
        super().__init__()
        self._anchor = anchor
        self._mounts = mounts

    def far(self) -> Place:
        return self._place_in(TIER)

    def near(self, link: str) -> Place:
        return self._place_in(DEVICE)

    def broker(self) -> tuple[Place, Sequence[str]]:
        """A program of this machine that becomes the engine's client: there is no Python beside mosquitto."""
        inside = self._place_in(_broker_image(), "mosquitto")
        return Place(HERE.python, inside.pid), inside.python

    def _place_in(self, image: str, program: str = PYTHON) -> Place:
        name = _name()
        command = (
            "docker", "run", "--rm", "--interactive", f"--name={name}", f"--label={LABEL}={_owner()}",
            f"--network=container:{self._anchor}", f"--user={os.getuid()}:{os.getgid()}", *HARDENED, *self._mounts,
            f"--entrypoint={program}", image,
        )  # fmt: skip
        return Place(command, Container(name).pid)


class Container:
    """A container by its name, which may not run yet, or no more."""

    def __init__(self, name: str) -> None:
        self._name = name

    def pid(self) -> int:
        """Of its program, as this machine sees it: what is sent from outside, nobody inside can refuse.

        Raises:
            ProcessLookupError: it has ended.
        """
        try:
            pid = int(_engine().api.inspect_container(self._name)["State"]["Pid"])
        except _sdk().errors.NotFound as exc:
            raise ProcessLookupError(self._name) from exc
        if not pid:
            raise ProcessLookupError(self._name)
        return pid


def clean() -> list[str]:
    """Remove the containers of runs that were killed; their names. None where no engine answers."""
    try:
        found = _engine().containers.list(all=True, filters={"label": LABEL})
    except ContainerError:
        return []
    removed = []
    for container in found:
        pid, _, start = container.labels[LABEL].partition("-")
        if started(int(pid)) != int(start):
            try:
                container.remove(force=True)
            except _sdk().errors.NotFound:  # it has just gone by itself
                continue
            removed.append(container.name)
    return removed


def _run_anchor() -> Any:
    try:
        return _engine().containers.run(
            TIER, entrypoint=["sleep", "infinity"], detach=True, network_mode="none", name=_name(), read_only=True,
            cap_drop=["ALL"], labels={LABEL: _owner()},
        )  # fmt: skip
    except _sdk().errors.DockerException as exc:
        raise ContainerError(f"the container engine refused a container: {exc}; see: docker info") from exc


def _name() -> str:
    return f"isthmus-testbed-{_owner()}-{next(_numbers)}"


def _owner() -> str:
    return f"{os.getpid()}-{started(os.getpid())}"


@cache
def _engine() -> Any:
    """The engine of this machine.

    Raises:
        ContainerError: there is none, or it may not be used.
    """
    sdk = _sdk()
    with warnings.catch_warnings():  # where nobody answers, the SDK leaves its socket open and in a cycle
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            return sdk.from_env()
        except sdk.errors.DockerException as exc:
            reason = str(exc)
        gc.collect()
    raise ContainerError(f"no container engine answers ({reason}); start one: compose/prepare.sh")


def _sdk() -> Any:
    """Docker's SDK, which only this backend needs."""
    try:
        return import_module("docker")
    except ImportError as exc:
        raise ContainerError("docker's SDK is not installed; run: pip install 'isthmus[testbed]'") from exc
