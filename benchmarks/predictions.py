"""Predicted completion time beside what the real programs take: eight networks over four emulated links.

For each network and link the plan names the fastest way that uses the link; then a device, slowed to an eighth of this
machine, answers a few pictures that way over the emulated link, with the cloud as a process of its own. What a frame
takes in the programs besides is measured once, with the first network over a link without a bottleneck, and is the same
for all. Takes about five minutes, and an otherwise idle machine: on a busy one the programs wait for processors, which
no plan foresees.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from adaptation.plan import Choice, Route
from benchmarks.engine import NETWORKS, network
from benchmarks.figure import Figure
from partitioner.api import Partition
from partitioner.capture import capture
from partitioner.cuts import Cut, cuts_of, narrow
from partitioner.planned import Planned
from partitioner.planning.links import parse_link
from partitioner.profiling.timing import Effort
from partitioner.question import Question, plan_bundle
from runtime.bundle import Bundle
from testbed.alternatives import fixed
from testbed.comparison import Tiers, run_alternative, tiers
from testbed.link.settings import DirectionSettings
from testbed.setting import Setting

OPEN = "1Gbit"
LINKS = ("2Mbit 30ms", "8Mbit 20ms", "20Mbit 10ms", "60Mbit 5ms")
SLOWDOWN = 8.0
CUTS = 4
SIDE = 144
"""Of the pictures. Their 62 kB fit into the window with which an HTTP/2 stream starts; larger payloads may wait another
round trip until gRPC has widened it, and plans do not count that."""
FRAMES = 10
WARM_UP = 3
"""Frames that are left out: the first of a connection opens it."""
LEAST_PERIOD_S = 0.15


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of one frame: from capture to answer, and the parts on the device, on the way and in the cloud."""

    whole_s: float
    device_s: float
    network_s: float
    tier_s: float

    def __str__(self) -> str:
        parts = " + ".join(f"{1e3 * part:.1f}" for part in (self.device_s, self.network_s, self.tier_s))
        return f"{1e3 * self.whole_s:.1f} ({parts})"


@dataclass(frozen=True, slots=True)
class Cell:
    """One network over one link."""

    network: str
    link: str
    way: str
    predicted: Times
    measured: Times

    @property
    def off(self) -> float:
        """How far the prediction is from the measurement, as a share of the measurement."""
        return abs(self.predicted.whole_s / self.measured.whole_s - 1)

    @property
    def told(self) -> str:
        """Both, with their parts: device, network, tier."""
        return f"{self.network} over {self.link}, after {self.way}: {self.predicted} ms, measured {self.measured}"


def figures() -> Sequence[Figure]:
    """Median and 90th percentile of the relative error over all cells."""
    return figures_of(NETWORKS, LINKS)


def figures_of(networks: Sequence[str], links: Sequence[str]) -> list[Figure]:
    """The same for some networks and links."""
    programs_s = programs_of(networks[0])
    cells = [cell for name in networks for cell in cells_of(name, links, programs_s)]
    off = [cell.off for cell in cells]
    told = f"{len(networks)} networks, {len(links)} links"
    return [
        Figure(f"prediction off by, median of {told}", statistics.median(off), "share", 0.15, "at most", "measured"),
        Figure("prediction off by, 90th percentile", float(np.percentile(off, 90)), "share", 0.30, "at most",
               "measured"),
        Figure("a frame in the programs besides", 1e3 * programs_s, "ms", against=f"{networks[0]}, measured"),
        *(Figure(cell.told, cell.off, "share", against="measured") for cell in cells),
    ]  # fmt: skip


def programs_of(name: str) -> float:
    """Seconds of a frame that are neither computing nor link: over a link that has no bottleneck, the narrowest cut."""
    with _programs(name) as (setting, running):
        planned = _planned(setting.bundle, OPEN, 0.0)
        sent = [choice for choice in range(len(planned.choices)) if planned.choices.hops(choice)]
        choice = min(sent, key=lambda choice: float(planned.choices.figures["bytes"][choice]))
        predicted, measured = _predicted(planned, choice), _measured(setting, running, OPEN, "open", planned, choice)
        return max(0.0, measured.whole_s - measured.device_s - predicted.network_s - predicted.tier_s)


def cells_of(name: str, links: Sequence[str], programs_s: float) -> Iterator[Cell]:
    """One network over each of the links."""
    with _programs(name) as (setting, running):
        for number, link in enumerate(links):
            planned = _planned(setting.bundle, link, programs_s)
            choice = _fastest_way(planned)
            measured = _measured(setting, running, link, f"link_{number}", planned, choice)
            yield Cell(name, link, planned.name_of(choice), _predicted(planned, choice), measured)


@contextmanager
def _programs(name: str) -> Iterator[tuple[Setting, Tiers]]:
    """A network's bundle and pictures, and tiers that serve it."""
    with tempfile.TemporaryDirectory() as folder:
        setting = _setting(name, Path(folder))
        with tiers(setting, Path(folder)) as running:
            yield setting, running


class Pictures(nn.Module):
    """A network on uint8 pictures [batch, height, width, 3], as cameras give them."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, pictures: Tensor) -> Tensor:
        answer: Tensor = self.inner(pictures.permute(0, 3, 1, 2).float() / 127.5 - 1.0)
        return answer


def _setting(name: str, folder: Path) -> Setting:
    example = torch.zeros(1, SIDE, SIDE, 3, dtype=torch.uint8)
    graph = capture(Pictures(network(name)).eval(), example)
    found = cuts_of(graph)
    Partition(graph, found, _worth(graph.by_name["pictures"].bytes, narrow(graph, found, CUTS))).save(
        folder / "bundle", model_id=name, task="classification"
    )
    (folder / "inputs").mkdir()
    names = [f"{number:02d}.png" for number in range(FRAMES)]
    ramp = np.linspace(0, 255, SIDE, dtype=np.uint8)
    for shade, one in enumerate(names):
        planes = (ramp[:, None] + ramp[None, :] // 2, ramp[None, :] + ramp[:, None] // 2, np.full((SIDE, SIDE), shade))
        Image.fromarray(np.stack(planes, -1).astype(np.uint8)).save(folder / "inputs" / one)
    open_link = DirectionSettings(kind="unlimited")
    return Setting(
        bundle=folder / "bundle",
        inputs=folder / "inputs",
        labels=dict.fromkeys(names, 0),
        uplink=open_link,
        downlink=open_link,
        frames=FRAMES,
        deadline_s=30.0,
        slowdown=SLOWDOWN,
        cloud_extra_s=0.0,
        measure_s=0.3,
        command="isthmus bench predictions",
    )


def _worth(most_bytes: int, cuts: Sequence[Cut]) -> tuple[Cut, ...]:
    """Cuts that send less than the picture; else the narrowest."""
    kept = tuple(cut for cut in cuts if cut.bytes < most_bytes)
    return kept or (min(cuts, key=lambda cut: cut.bytes),)


def _planned(bundle: Path, link: str, programs_s: float) -> Planned:
    """The plan of a slowed device, and this machine as the cloud."""
    question = Question(device=SLOWDOWN, links=(link,), effort=Effort(budget_s=1.5), programs_s=programs_s)
    with Bundle.open(bundle, verify=False) as opened:
        return plan_bundle(opened, question)


def _fastest_way(planned: Planned) -> int:
    """The fastest way that uses the link."""
    latency = planned.choices.figures["latency_s"]
    sent = [choice for choice in range(len(planned.choices)) if planned.choices.hops(choice)]
    return min(sent, key=lambda choice: float(latency[choice]))


def _predicted(planned: Planned, choice: int) -> Times:
    figures = planned.choices.figures_at(choice)
    network_s = figures["link_0_s"] + figures["delay_s"]
    return Times(figures["latency_s"], figures["tier_0_s"], network_s, figures["tier_1_s"])


def _measured(setting: Setting, running: Tiers, link: str, label: str, planned: Planned, choice: int) -> Times:
    """Medians over frames, one after the other with a pause between them."""
    (hop,) = planned.choices.hops(choice)
    played = _over(setting, link, planned.choices.figures_at(choice)["latency_s"])
    way = fixed(label, Choice(hop.place, hop.level, Route.CLOUD), link)
    history = run_alternative(played, way, running).history
    answered = [line for line in history if line["by"] == "cloud" and line["frame"] >= WARM_UP]
    if not answered:
        raise RuntimeError(f"no frame was answered over {link!r}; the history is {history}")
    parts = ("latency_s", "device_s", "network_s", "tier_s")
    return Times(*(statistics.median(line[part] for line in answered) for part in parts))


def _over(setting: Setting, link: str, latency_s: float) -> Setting:
    parsed = parse_link(link)
    direction = partial(DirectionSettings, kind="rate", delay_s=parsed.delay_s)
    rate_hz = 1 / max(LEAST_PERIOD_S, 1.3 * latency_s)
    up, down = direction(rate_bps=parsed.rate_bps), direction(rate_bps=parsed.down_bps or parsed.rate_bps)
    return replace(setting, uplink=up, downlink=down, rate_hz=rate_hz)


if __name__ == "__main__":
    for figure in figures_of(sys.argv[1].split(","), sys.argv[2].split(",")):
        print(f"{figure.name}: {figure.value:.3g} {figure.unit}")
