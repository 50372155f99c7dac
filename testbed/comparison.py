"""Run alternatives on the same frames over the same link, with real programs, and gather what they left behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testbed.alternatives import Alternative
from testbed.figures import RunRecord
from testbed.link.settings import DirectionSettings
from testbed.processes import Child, Children
from testbed.programs import Line, Lines, start_link, start_program
from testbed.setting import Setting

_LOOK_S = 0.1
"""How often the files of a run are read for its progress."""
_PATIENCE_S = 30.0
"""How much longer than its frames a device may take."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A run so far.

    Attributes:
        at_s: since the link started.
        history: lines of frames that have ended since the last time.
        link: lines of the radio link since the last time.
    """

    alternative: Alternative
    at_s: float
    history: Sequence[Line]
    link: Sequence[Line]


@dataclass(frozen=True, slots=True)
class Tiers:
    """The edge and the cloud, running; their ports are those in front of which no radio stands."""

    children: Children
    folder: Path
    edge: Child
    cloud: Child

    @property
    def edge_target(self) -> str:
        return f"127.0.0.1:{self.edge.ready['port']}"

    @property
    def cloud_target(self) -> str:
        return f"127.0.0.1:{self.cloud.ready['port']}"


@contextmanager
def tiers(setting: Setting, folder: Path) -> Iterator[Tiers]:
    """Start cloud, backhaul and edge as processes of their own, for any number of runs; stops them at the end.

    The backhaul is a link without a bottleneck: it makes the cloud as far from the edge as the setting says.

    Args:
        folder: for configuration files and logs.

    Raises:
        ChildError: one of them did not start.
    """
    folder = folder.resolve()
    with Children(folder / "logs") as children:
        settings: dict[str, object] = {"bundles": [setting.bundle.resolve()], "listen": {"port": 0}}
        cloud = start_program(children, "cloud", folder, settings)
        far = DirectionSettings(kind="unlimited", delay_s=setting.cloud_extra_s)
        backhaul = start_link(children, "backhaul", folder, far, far, {"cloud": f"127.0.0.1:{cloud.ready['port']}"})
        above = {"target": f"127.0.0.1:{backhaul.ready['ports']['cloud']}"}
        edge = start_program(children, "edge", folder, {**settings, "cloud": above})
        yield Tiers(children, folder, edge, cloud)


def run_alternative(
    setting: Setting,
    alternative: Alternative,
    running: Tiers,
    *,
    progress: Callable[[Progress], None] | None = None,
) -> RunRecord:
    """Play the setting's link once from its start, while a fresh device answers the setting's frames.

    Args:
        running: the tiers behind the link.
        progress: called about ten times a second, and once after the end, in this thread.

    Raises:
        ScenarioError: the inputs and the labels do not fit together.
        ChildError: a program failed; the sentence carries the end of its log.
    """
    setting.names()
    name, folder, children = alternative.name, running.folder, running.children
    link = start_link(
        children,
        f"{name}.link",
        folder,
        setting.uplink,
        setting.downlink,
        {"edge": running.edge_target, "cloud": running.cloud_target},
        {"cloud": setting.cloud_extra_s},
    )
    history = Lines(folder / f"{name}.history.jsonl")
    record = Lines(folder / f"{name}.link.jsonl")
    device = start_program(
        children, "device", folder, _device_settings(setting, alternative, link, history.path), label=f"{name}.device"
    )
    began_s = time.monotonic()
    link.tell("start")
    started_s = link.event("started", _PATIENCE_S)["monotonic_s"]
    seen = Progress(alternative, 0.0, [], [])
    deadline_s = began_s + setting.duration_s + _PATIENCE_S
    while device.exit_code is None and time.monotonic() < deadline_s:
        time.sleep(_LOOK_S)
        seen = Progress(alternative, time.monotonic() - started_s, history.new(), record.new())
        if progress is not None:
            progress(seen)
    done = device.event("done", _LOOK_S)
    device.wait(_PATIENCE_S)
    link.stop()
    final = Progress(alternative, time.monotonic() - started_s, history.new(), record.new())
    if progress is not None:
        progress(final)
    first_s = min((line["captured_s"] for line in history.all), default=0.0)
    return RunRecord(
        alternative, setting, tuple(history.all), tuple(record.all), int(done["frames"]), began_s - started_s - first_s
    )


def _device_settings(setting: Setting, alternative: Alternative, link: Child, history: Path) -> dict[str, object]:
    ports = link.ready["ports"]
    return {
        "bundle": setting.bundle.resolve(),
        "deadline_s": setting.deadline_s,
        "emulated_slowdown": setting.slowdown,
        "measure_s": setting.measure_s,
        "source": {"path": setting.inputs.resolve(), "rate_hz": setting.rate_hz, "limit": setting.frames},
        "edge": {"target": f"127.0.0.1:{ports['edge']}", "passes_on": True},
        "cloud": {"target": f"127.0.0.1:{ports['cloud']}"},
        "policy": alternative.policy,
        "history": {"path": history},
    }
