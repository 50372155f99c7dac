"""The programs of the platform and the emulated link, started from settings that are plain tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from testbed import toml
from testbed.link.conditions import Condition
from testbed.link.settings import DirectionSettings
from testbed.processes import HERE, Child, Children, Place

Line = Mapping[str, Any]
"""An object of a file of JSON lines."""

READY_S = 120.0
"""How long a program may take to start: a busy machine is slow, and a program that fails says so at once."""


class Lines:
    """A file of JSON lines that another program is writing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.all: list[Line] = []
        self._read_bytes = 0

    def new(self) -> Sequence[Line]:
        """Whole lines since the last call; none while the file does not exist."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._read_bytes)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read_bytes += len(whole)
        lines = [json.loads(line) for line in whole.splitlines()]
        self.all += lines
        return lines


def start_program(
    children: Children,
    module: str,
    folder: Path,
    settings: Mapping[str, object],
    *,
    label: str | None = None,
    ready: str | None = "ready",
    through: Sequence[str] = (),
    place: Place = HERE,
) -> Child:
    """Write a program's settings into the folder and start it.

    Args:
        module: `device`, `edge`, `cloud` or `testbed.link`.
        label: of its files; the module's name if None.
        ready: the event to wait for; None does not wait.
        through: modules that it is run through, with their arguments (`testbed.shifted`, `testbed.disk`).
        place: where it runs.

    Raises:
        ChildError: it did not start.
    """
    name = label or module
    config = folder / f"{name}.toml"
    config.write_text(toml.dumps(settings), encoding="utf-8")
    arguments = [*place.python, "-m", *through, module, str(config)]
    return children.start(name, arguments, ready=ready, timeout_s=READY_S, pid=place.pid)


def start_link(
    children: Children,
    name: str,
    folder: Path,
    uplink: DirectionSettings,
    downlink: DirectionSettings,
    targets: Mapping[str, str],
    extra_s: Mapping[str, float] | None = None,
    conditions: Sequence[Condition] = (),
    *,
    host: str = "127.0.0.1",
    place: Place = HERE,
) -> Child:
    """Start an emulated link that records itself as `NAME.jsonl`.

    Args:
        targets: name of each forward to its host:port.
        extra_s: one way, how much farther some of them are.
        host: address that it listens on.
        place: where it runs.
    """
    extra_s = extra_s or {}
    forwards = [
        {"name": target, "target": address, "extra_delay_s": extra_s.get(target, 0.0), "listen_host": host}
        for target, address in targets.items()
    ]
    settings = {
        "uplink": direction_table(uplink),
        "downlink": direction_table(downlink),
        "forward": forwards,
        "condition": [one.model_dump(exclude_defaults=True) for one in conditions],
        "record": {"path": folder / f"{name}.jsonl"},
    }
    return start_program(children, "testbed.link", folder, settings, label=name, place=place)


def direction_table(settings: DirectionSettings) -> dict[str, object]:
    """A direction as a table of a settings file, its trace by its whole path."""
    table = settings.model_dump(exclude_defaults=True)
    return {**table, "path": settings.path.resolve()} if settings.path is not None else table
