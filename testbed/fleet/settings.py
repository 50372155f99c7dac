"""A fleet: what its devices send, over which cells, to which tiers."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import ScenarioError
from testbed.results.files import read_facts

MOST_FRAMES = 50_000_000
"""Bound on the frames of one simulation: they are held in memory, about 200 bytes each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Devices that are alike, spread evenly over cells and over edges.

    Attributes:
        devices: how many.
        rate_hz: frames per second of each, at a random phase.
        deadline_s: from capture to answer; a tier does not begin what cannot be done by then.
        samples: (seconds on the device, bytes of the message) of a frame, drawn evenly for each.
        cell_devices: devices that share a cell, first in, first out.
        cell_bps: of a cell's uplink.
        one_way_s: propagation, each way; answers do not wait.
        edges: tiers.
        workers: batches that one of them does at the same time.
        first_s, each_s: a batch of n frames takes first_s + n * each_s.
        most: frames in one batch.
        exact: whether the tiers' own scheduler decides on every frame, which takes some fifty times as long; `most` is
            then its own affair.
        batch_s: with that, seconds of a batch by its size, [0] left out of account; without it, the line above.
        seconds: counted, after `warm_up_s`.
    """

    devices: int
    rate_hz: float = 1.0
    deadline_s: float = 1.0
    samples: tuple[tuple[float, float], ...] = ((0.05, 2000.0),)
    cell_devices: int = 50
    cell_bps: float = 20e6
    one_way_s: float = 0.015
    edges: int = 1
    workers: int = 1
    first_s: float = 0.0
    each_s: float = 0.005
    most: int = 16
    exact: bool = False
    batch_s: tuple[float, ...] = ()
    seconds: float = 10.0
    warm_up_s: float = 2.0
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("devices", "cell_devices", "edges", "workers", "most"):
            if getattr(self, name) < 1:
                raise ScenarioError(f"{name} = {getattr(self, name)} is less than 1; a fleet needs one at least")
        for name in ("rate_hz", "deadline_s", "cell_bps", "seconds"):
            if getattr(self, name) <= 0:
                raise ScenarioError(f"{name} = {getattr(self, name):g} is not above 0; change it")
        if self.first_s < 0 or self.each_s < 0 or self.first_s + self.each_s <= 0:
            raise ScenarioError("a frame takes the tier no time; give first_s or each_s above 0")
        slowest_s = max(device_s for device_s, _ in self.samples)
        if slowest_s * self.rate_hz > 1:
            raise ScenarioError(
                f"a device needs up to {slowest_s:g} s for a frame and gets {self.rate_hz:g} in a second; lower the "
                "rate, or cut earlier"
            )
        if self.devices * self.rate_hz * (self.seconds + self.warm_up_s) > MOST_FRAMES:
            raise ScenarioError(f"these are more than {MOST_FRAMES:,} frames; simulate fewer seconds")

    def batch_seconds(self) -> tuple[float, ...]:
        """Seconds of a batch by its size, as far as they are needed to know the rest."""
        return self.batch_s or (0.0, self.first_s + self.each_s, self.first_s + 2 * self.each_s)

    @property
    def tier_load(self) -> float:
        """Seconds of work for each second and worker, if all batches were full; above 1 the tiers cannot keep up."""
        frame_s = self.first_s / self.most + self.each_s
        return self.devices * self.rate_hz * frame_s / (self.edges * self.workers)


def samples_of(run: Path) -> tuple[tuple[tuple[float, float], ...], float]:
    """Calibrate from a scenario's run: (samples of the frames that were sent by the commonest choice, seconds in tier).

    Raises:
        TestbedError: the folder holds no finished run.
        ScenarioError: no frame of it was answered by a tier.
    """
    read_facts(run)
    with (run / "frames.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["ended"] == "answered" and row["by"] in ("edge", "cloud")]
    if not rows:
        raise ScenarioError(f"no frame of {str(run)!r} was answered by a tier, so it says nothing about tiers")
    chosen = Counter((row["cut"], row["level"]) for row in rows).most_common(1)[0][0]
    rows = [row for row in rows if (row["cut"], row["level"]) == chosen]
    tier_s = sorted(float(row["tier_s"]) for row in rows)
    return tuple((float(row["device_s"]), float(row["message_bytes"])) for row in rows), tier_s[len(tier_s) // 2]
