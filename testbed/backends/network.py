"""How the programs of a scenario run and reach one another: the seam between programs and what lies between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol

from testbed.processes import HERE, Place
from testbed.scenarios.material import Material
from testbed.scenarios.scenario import Played, PlayedLink, Scenario

LOOPBACK = "127.0.0.1"


class Network(Protocol):
    """Tiers are on one side, with the proxies that play conditions; the devices of each radio link are on another."""

    def far(self) -> Place:
        """Where the next tier or proxy runs."""
        ...

    def near(self, link: str) -> Place:
        """Where the next device of this link runs."""
        ...

    def broker(self) -> tuple[Place, Sequence[str]]:
        """Where the program of the next broker runs, and what runs mosquitto from there; empty for mosquitto itself."""
        ...

    def host(self, link: str) -> str:
        """Where the proxy of a link listens, so that its devices reach it."""
        ...

    def left(self, link: str, played: PlayedLink) -> PlayedLink:
        """What of a link the network does not do, and its proxy has to."""
        ...

    def start(self, at_s: float) -> None:
        """Links begin to move at this moment of the monotonic clock."""
        ...


Lay = Callable[[Scenario, Played, Material, Path], AbstractContextManager[Network]]
"""Lays a network for one repetition, with a folder for its logs; leaving the context removes it."""


class Loopback:
    """All on one side; proxies do everything.

    Args:
        place: where programs run.
    """

    def __init__(self, place: Callable[[], Place] = lambda: HERE) -> None:
        self._place = place

    def far(self) -> Place:
        return self._place()

    def near(self, link: str) -> Place:
        return self._place()

    def broker(self) -> tuple[Place, Sequence[str]]:
        return self.far(), ()

    def host(self, link: str) -> str:
        return LOOPBACK

    def left(self, link: str, played: PlayedLink) -> PlayedLink:
        return played

    def start(self, at_s: float) -> None:
        """Nothing moves by itself."""


def loopback(scenario: Scenario, played: Played, material: Material, folder: Path) -> AbstractContextManager[Network]:
    """What needs no privileges."""
    return nullcontext(Loopback())
