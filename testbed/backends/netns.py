"""Linux network namespaces: tiers live in one, the devices of each radio link in another, packets go between.

Each radio link is a pair of TUN devices and a program that gives every packet its time (`testbed.backends.radio`), so
programs meet real TCP over a real queue. They listen and dial on loopback addresses, as without certificates they must:
both ends of a link have addresses of 127.77.0.0/16, which the namespaces route (`route_localnet`), not taking them for
their own. Jitter, stalls, resets, partitions and how much farther the cloud is are played by the proxies that
`process` uses, on the far side.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import count
from pathlib import Path

from testbed.backends.network import Network
from testbed.errors import TestbedError
from testbed.link.settings import DirectionSettings
from testbed.packets.namespaces import PREFIX, clean, inside
from testbed.packets.namespaces import why_not as why_no_pair
from testbed.processes import HERE, Child, Children, Place, started
from testbed.programs import direction_table, start_program
from testbed.scenarios.faults.partition import BACKHAUL
from testbed.scenarios.material import Material
from testbed.scenarios.scenario import Played, PlayedLink, Scenario

OPEN = DirectionSettings(kind="unlimited", queue_bytes=1 << 24)
"""What is left of a direction for its proxy: nothing waits there, and its sockets have windows for a long way."""
_MOST_LINKS = 250
_numbers = count(1000)


class NamespaceError(TestbedError):
    """A namespace, or something in it, could not be made; the sentence says which and why."""

    exit_code = 1


@cache
def why_not() -> str:
    """Why this machine cannot play it; empty if it can. Tried for a moment with a namespace."""
    if missing := why_no_pair():
        return missing
    try:
        with ExitStack() as undo:
            name = _namespace("near", undo)
            _run(["ip", "-n", name, "tuntap", "add", "dev", "link0", "mode", "tun"])
    except NamespaceError as exc:
        return str(exc)
    return ""


@contextmanager
def namespaces(scenario: Scenario, played: Played, material: Material, folder: Path) -> Iterator[Network]:
    """Lay the links of a scenario; what killed runs have left is removed first.

    Raises:
        NamespaceError: the kernel lacks something, or a privilege.
        ChildError: the same, found by a link's program.
    """
    clean()
    links = {name: link for name, link in played.links.items() if name != BACKHAUL}
    if len(links) > _MOST_LINKS:
        raise NamespaceError(f"at most {_MOST_LINKS} links can be laid; take fewer")
    with ExitStack() as undo:
        far = _namespace("far", undo)
        near = {name: _namespace("near", undo) for name in links}
        children = undo.enter_context(Children(folder / "logs" / "links"))
        radios = [
            _radio(children, folder, name, link, near[name], far, place)
            for place, (name, link) in enumerate(links.items())
        ]
        yield Namespaces(far, near, radios)


class Namespaces:
    """A network that is laid."""

    def __init__(self, far: str, near: Mapping[str, str], radios: Sequence[Child]) -> None:
        self._far = far
        self._near = near
        self._radios = radios

    def far(self) -> Place:
        return Place(inside(self._far, HERE.python))

    def near(self, link: str) -> Place:
        return Place(inside(self._near[link], HERE.python))

    def broker(self) -> tuple[Place, Sequence[str]]:
        return self.far(), ()

    def host(self, link: str) -> str:
        return _address(list(self._near).index(link), far=True)

    def left(self, link: str, played: PlayedLink) -> PlayedLink:
        return played if link == BACKHAUL else PlayedLink(OPEN, OPEN, played.conditions)

    def start(self, at_s: float) -> None:
        for radio in self._radios:
            radio.tell(f"start {at_s!r}")


def _radio(children: Children, folder: Path, name: str, link: PlayedLink, near: str, far: str, place: int) -> Child:
    settings = {
        "near": {"namespace": near, "device": "link0", "address": _address(place, far=False)},
        "far": {"namespace": far, "device": f"link{place}", "address": _address(place, far=True)},
        "uplink": direction_table(link.uplink),
        "downlink": direction_table(link.downlink),
        "condition": [one.model_dump() for one in link.packets],
        "queue": link.queue,
        "seed": link.seed,
    }
    return start_program(children, "testbed.backends.radio", folder, settings, label=f"radio-{name}")


def _namespace(side: str, undo: ExitStack) -> str:
    """One with a loopback of a single address, so that the others of 127/8 may be elsewhere."""
    name = f"{PREFIX}-{os.getpid()}-{started(os.getpid())}-{next(_numbers)}-{side}"
    _run(["ip", "netns", "add", name])
    undo.callback(_run, ["ip", "netns", "delete", name])
    _run(
        ["ip", "-n", name, "-batch", "-"],
        "link set dev lo up\naddr del 127.0.0.1/8 dev lo\naddr add 127.0.0.1/32 dev lo\n",
    )
    # BBR, the default on some machines, would pace by its own estimate: the only pacing here is to be the link's.
    _run(inside(name, ["tee", "/proc/sys/net/ipv4/tcp_congestion_control"]), "reno")
    return name


def _address(place: int, *, far: bool) -> str:
    return f"127.77.{place}.{2 if far else 1}"


def _run(command: Sequence[str], given: str = "") -> None:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        told = done.stderr.strip() or f"exit code {done.returncode}"
        raise NamespaceError(f"{' '.join(command)} failed: {told}; namespaces need root and CAP_NET_ADMIN")
