"""The demo as a function: the built-in task on a moving link, adaptive against three fixed ways of doing it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from isthmus.builtin import digits
from testbed import alternatives, hindsight
from testbed.alternatives import Alternative
from testbed.comparison import Progress, run_alternative, tiers
from testbed.figures import RunRecord
from testbed.link.settings import DirectionSettings
from testbed.setting import Setting

BUNDLE = Path(__file__).parent / "digits.bundle"
FIRST_ITEM = 1_000_000
"""Inputs are drawn from here on: pictures that neither training nor the bundle's own figures have seen."""
INPUTS = 120
WHOLE_MODEL_S = 0.2
"""What the whole model takes on the emulated device."""
GOOD_BPS, THIN_BPS = 4e6, 24e3
PHASES = (("good", 0.3, GOOD_BPS), ("thin", 0.25, THIN_BPS), ("dead", 0.2, 0.0), ("good", 0.25, GOOD_BPS))
"""Name, share of the time and rate of each phase of the demo's link."""
DELAY_S = 0.015
"""One way over the radio; the cloud is another 20 ms away."""


@dataclass(frozen=True, slots=True)
class Link:
    """The demo's link: `up` and `down`, and how long one run over it takes."""

    up: DirectionSettings
    down: DirectionSettings
    seconds: float


def moving_link(seconds: float) -> Link:
    """Good, thin, dead and good again; both directions alike."""
    steps = tuple((share * seconds, rate) for _, share, rate in PHASES)
    direction = DirectionSettings(kind="steps", steps=steps, delay_s=DELAY_S)
    return Link(direction, direction, seconds)


def traced_link(path: Path, from_s: float, to_s: float) -> Link:
    """A window of a packet-delivery trace (Mahimahi's format) in both directions.

    Raises:
        TraceError: the trace cannot be read; before anything is started.
    """
    direction = DirectionSettings(kind="trace", path=path, from_s=from_s, to_s=to_s, delay_s=DELAY_S)
    direction.capacity()
    return Link(direction, direction, to_s - from_s)


def write_inputs(folder: Path, count: int = INPUTS) -> dict[str, int]:
    """Draw test pictures into a folder as PNG files; returns the label of each file name."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = {}
    for number, item in enumerate(digits.items("test", count, start=FIRST_ITEM)):
        name = f"{number:04d}.png"
        Image.fromarray(item.picture).save(folder / name)
        labels[name] = item.label
    return labels


def make_setting(link: Link, folder: Path, *, bundle: Path = BUNDLE, command: str = "isthmus demo") -> Setting:
    """The demo's conditions: 10 frames a second, 250 ms, a device on which the whole model takes 200 ms.

    The device's slowdown is measured here and stated in the setting.
    """
    setting = Setting(
        bundle=bundle,
        inputs=folder / "inputs",
        labels=write_inputs(folder / "inputs"),
        uplink=link.up,
        downlink=link.down,
        frames=round(link.seconds * 10),
        command=command,
    )
    return replace(setting, slowdown=hindsight.slowdown_for(setting, WHOLE_MODEL_S))


def play(
    setting: Setting,
    folder: Path,
    *,
    on_start: Callable[[Alternative], None] = lambda alternative: None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Sequence[RunRecord]:
    """Run adaptive, device_only, cloud_jpeg and best_fixed, each live over the same link and inputs.

    Returns their records, adaptive last.

    Args:
        folder: for logs, histories and link records.
        on_start: called before each run.
        on_progress: called about ten times a second during runs.
    """
    with tiers(setting, folder) as running:

        def run(alternative: Alternative) -> RunRecord:
            on_start(alternative)
            return run_alternative(setting, alternative, running, progress=on_progress)

        adaptive = run(alternatives.adaptive())
        manifest, plan = hindsight.measured_plan(setting)
        alone = run(alternatives.device_only(manifest))
        jpeg = run(alternatives.cloud_jpeg(manifest))
        best = hindsight.best_fixed(setting, hindsight.as_observed(plan, adaptive.history))[0].choice
        told = f"the best single choice in hindsight: {alternatives.describe(best, manifest)}"
        fixed = run(alternatives.fixed("best_fixed", best, told))
    return alone, jpeg, fixed, adaptive
