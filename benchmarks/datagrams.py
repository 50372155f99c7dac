"""Frames in QUIC datagrams beside gRPC, over links that really lose packets. Needs root and /dev/net/tun."""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Final, Literal

from benchmarks import packet_stage
from benchmarks.datagrams_ends import certificates
from benchmarks.figure import Figure
from testbed import toml
from testbed.packets.errors import PacketLinkError
from testbed.packets.namespaces import FAR_ADDRESS, inside, why_not
from testbed.processes import Child, Children

LOSS: Final = 0.1
ONE_WAY_S: Final = 0.04
CALLERS: Final = 4
"""Each with a connection of its own; their frames are judged together."""
SECONDS: Final = 60
RUNS: Final = 2
WAYS: Final[tuple[Literal["grpc", "datagrams"], ...]] = ("grpc", "datagrams")

_LINE: Final = [{"kind": "loss", "share": LOSS}, {"kind": "delay", "delay_s": ONE_WAY_S}]


@dataclass(frozen=True, slots=True)
class _Found:
    """Of one way in one run."""

    p50_s: float
    p99_s: float
    bytes_each: float
    """Of IP packets in both directions that entered the link, for each frame."""
    unanswered: int


def figures() -> Sequence[Figure]:
    """Latency and bytes of both, at the same time over links of the same setting."""
    if why_not():
        raise PacketLinkError(f"this benchmark needs a link of packets: {why_not()}")
    runs = [_run(seed) for seed in range(RUNS)]
    told = "10 % loss, 80 ms, 2 KiB at 5/s"
    ratios = [run["datagrams"].p99_s / run["grpc"].p99_s for run in runs]
    sizes = [run["datagrams"].bytes_each / run["grpc"].bytes_each for run in runs]
    found = [
        Figure.of_runs(f"p99 latency of datagrams: {told}", ratios, "times", 0.5, "at most", "gRPC, a link like it"),
        Figure.of_runs("bytes of datagrams", sizes, "times", 2.0, "at most", "gRPC, a link like it"),
    ]
    for way in WAYS:
        mine = [run[way] for run in runs]
        found += [
            Figure.of_runs(f"{way}: median", [one.p50_s for one in mine], "s"),
            Figure.of_runs(f"{way}: p99", [one.p99_s for one in mine], "s"),
            Figure.of_runs(f"{way}: bytes on the link for each frame", [one.bytes_each for one in mine], "B"),
            Figure.of_runs(f"{way}: unanswered", [one.unanswered for one in mine], "frames", 0, "at most"),
        ]
    return [*found, *packet_stage.figures()]


def _run(seed: int) -> dict[str, _Found]:
    with tempfile.TemporaryDirectory() as name, Children(Path(name)) as children:
        folder = Path(name)
        certificates(folder, FAR_ADDRESS)
        config = folder / "link.toml"
        config.write_text(toml.dumps({"uplink": _LINE, "downlink": _LINE, "seed": seed}))
        lanes = {way: _started(children, folder, config, way) for way in WAYS}
        sleep(SECONDS)
        return {way: _read(*lane) for way, lane in lanes.items()}


def _started(children: Children, folder: Path, config: Path, way: str) -> tuple[Child, Child]:
    """A link with callers that are sending over it."""
    ends = [sys.executable, "-m", "benchmarks.datagrams_ends"]
    link = children.start(f"link-{way}", [sys.executable, "-m", "testbed.packets", str(config)])
    tier = children.start(f"tier-{way}", inside(link.ready["far"], [*ends, "serve", str(folder), FAR_ADDRESS]))
    target = f"{FAR_ADDRESS}:{tier.ready[way]}"
    order = [*ends, "call", str(folder), target, way, str(CALLERS)]
    return link, children.start(f"callers-{way}", inside(link.ready["near"], order), timeout_s=120)


def _read(link: Child, callers: Child) -> _Found:
    callers.tell("end")
    found = callers.event("taken", 60)
    link.tell("counts")
    counts = link.event("counts", 10)
    entered = counts["up"]["entered_bytes"] + counts["down"]["entered_bytes"]
    taken_s = sorted(found["taken_s"]) + [math.inf] * found["refused"]
    return _Found(
        p50_s=taken_s[len(taken_s) // 2],
        p99_s=taken_s[math.ceil(0.99 * len(taken_s)) - 1],
        bytes_each=entered / (found["sent"]),
        unanswered=found["refused"],
    )
