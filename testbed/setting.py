"""The conditions that all alternatives of a comparison share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from testbed.errors import ScenarioError
from testbed.link.settings import DirectionSettings


@dataclass(frozen=True, slots=True)
class Power:
    """What a device spends on a frame, as a first approximation: power while it computes, energy for each byte sent.

    Attributes:
        compute_w: watts beyond idling.
        send_j_per_mb: joules for 1,000,000 bytes.
    """

    compute_w: float
    send_j_per_mb: float = 0.0

    def joules(self, device_s: float, message_bytes: float) -> float:
        """Of so many seconds and bytes."""
        return self.compute_w * device_s + self.send_j_per_mb * message_bytes / 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is run, on what, and over which link.

    Attributes:
        bundle: path of the bundle.
        inputs: folder of items; the device replays them in the order of their names.
        labels: right answer of each item, by file name.
        uplink: the radio's way up, shared by edge and cloud; likewise `downlink`.
        frames: captured in each run.
        rate_hz: frames per second.
        deadline_s: from capture to answer.
        slowdown: how many times slower than this machine the device computes, in real waiting.
        cloud_extra_s: one way, how much farther the cloud is than the edge; between edge and cloud too.
        measure_s: what the device spends on timing its parts before the first frame.
        command: what reproduces the run, for the report.
        power: of the device, where it is known.
    """

    bundle: Path
    inputs: Path
    labels: Mapping[str, int] = field(repr=False)
    uplink: DirectionSettings
    downlink: DirectionSettings
    frames: int
    rate_hz: float = 10.0
    deadline_s: float = 0.25
    slowdown: float = 1.0
    cloud_extra_s: float = 0.02
    measure_s: float = 1.0
    command: str = ""
    power: Power | None = None

    @property
    def duration_s(self) -> float:
        """From the first capture to the last deadline."""
        return (self.frames - 1) / self.rate_hz + self.deadline_s

    def names(self) -> Sequence[str]:
        """The items in the order in which the device takes them.

        Raises:
            ScenarioError: the folder has none, or one of them has no label.
        """
        found = sorted(path.name for path in self.inputs.iterdir()) if self.inputs.is_dir() else []
        if not found:
            raise ScenarioError(f"input folder {str(self.inputs)!r} holds nothing; put labelled pictures there")
        unlabelled = [name for name in found if name not in self.labels]
        if unlabelled:
            raise ScenarioError(
                f"{len(unlabelled)} of {len(found)} inputs have no label, the first is {unlabelled[0]!r}; "
                "give each file name its right answer"
            )
        return found
