"""A check that each room resolves to this distribution: plain top-level names could be taken by another one."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from protocol.errors import IsthmusError

ROOMS = (
    "protocol", "runtime", "partitioner", "adaptation", "transport", "serving", "edge", "cloud", "device", "testbed",
)  # fmt: skip


class RoomTaken(IsthmusError):
    """Another distribution installed a package under the name of one of our rooms."""

    exit_code = 2


def check_rooms() -> None:
    """Raise `RoomTaken`, naming the intruder, unless every room lies beside this package."""
    home = Path(__file__).resolve().parent.parent
    for room in ROOMS:
        spec = find_spec(room)
        if spec is None or spec.origin is None:
            raise RoomTaken(f"the package {room!r} of isthmus is missing; reinstall isthmus")
        if Path(spec.origin).resolve().parent.parent != home:
            raise RoomTaken(
                f"the package {room!r} comes from {spec.origin}, not from isthmus in {home}; uninstall the "
                f"distribution that installed it, or run isthmus in a virtual environment of its own"
            )
