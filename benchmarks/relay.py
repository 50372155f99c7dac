"""Device to edge to cloud as real programs: what the edge in between adds, and what its own choice of level saves."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figure import Figure
from protocol.messages import Frame, Handover, Hello, Result
from runtime.bundle import Bundle
from runtime.codecs import Codecs
from runtime.engines.onnxruntime import OnnxRuntimeEngine
from runtime.stage import Stage
from serving.upstream import Upstream
from testbed.link.settings import DirectionSettings
from testbed.processes import Child, Children
from testbed.programs import start_link, start_program
from transport.settings import Dial

BUNDLE = Path(__file__).resolve().parent.parent / "isthmus" / "builtin" / "digits.bundle"
ROUNDS = 15
TRIPS = 40
"""Frames of one round of one kind, one after the other."""
SLOW_TRIPS = 10
RATE_BPS, DELAY_S = 2e6, 0.005
"""Of the edge's uplink where it is the bottleneck."""
SLOWDOWN = 60
"""Of that edge: a small machine, so that finishing there is no way out."""
ACCURACY_LOSS = 0.03
LEFT_US = 30_000_000


def figures() -> Sequence[Figure]:
    """What a hop adds, with and without work on it; and raw features beside those encoded anew."""
    with tempfile.TemporaryDirectory() as folder, Children(Path(folder)) as children:
        return [*asyncio.run(_hop(children, Path(folder))), *asyncio.run(_bottleneck(children, Path(folder)))]


@dataclass(frozen=True)
class _Device:
    """Asks one tier about the same picture again and again."""

    tier: Upstream
    bundle: Bundle
    stage: Stage
    codecs: Codecs
    ids: Any

    def frame(self, cut: int, level: int, handover: Handover | None = None) -> Frame:
        spec = self.bundle.manifest.input
        picture = np.random.default_rng(1).integers(0, 256, (1, *spec.shape), dtype=np.uint8)
        activation = self.stage.run(picture, 0, cut)[0]
        return Frame.build(
            id=next(self.ids), bundle=self.bundle.tag, cut=cut, level=level, shape=activation.shape[1:],
            payload=self.codecs.at(cut, level).encode(activation), remaining_us=LEFT_US, handover=handover,
        )  # fmt: skip

    async def trip(self, frame: Frame, by: Sequence[str]) -> tuple[float, Result]:
        """Seconds from question to answer, which has to come from one of these tiers."""
        began_s = time.perf_counter()
        answer = await self.tier.ask(frame)
        took_s = time.perf_counter() - began_s
        if not isinstance(answer, Result) or answer.answered_by not in by:
            raise RuntimeError(f"an answer by {' or '.join(by)} was wanted, and this came: {answer}")
        return took_s, answer


@asynccontextmanager
async def _device(target: str) -> AsyncIterator[_Device]:
    engine = OnnxRuntimeEngine()
    with Bundle.open(BUNDLE) as bundle:
        tier = Upstream(Dial(target=target), Hello("bench", (bundle.digest,)))
        tier.start()
        try:
            async with asyncio.timeout(60):
                await tier.until_ready()
            yield _Device(tier, bundle, Stage(bundle, engine), Codecs(bundle, engine), itertools.count(1))
        finally:
            await tier.close()


def _start(children: Children, folder: Path, room: str, label: str, **settings: object) -> str:
    """Start a tier; its address."""
    table = {"bundles": [str(BUNDLE)], "listen": {"port": 0}, **settings}
    child: Child = start_program(children, room, folder, table, label=label)
    return f"127.0.0.1:{child.ready['port']}"


async def _until_passed_up(device: _Device, frame: Frame) -> None:
    """The edge's own stream upwards is up."""
    async with asyncio.timeout(60):
        while True:
            answer = await device.tier.ask(frame)
            if isinstance(answer, Result) and answer.answered_by == "cloud":
                return


async def _hop(children: Children, folder: Path) -> list[Figure]:
    """The hop by itself is a frame answered at the edge, without the time that it was there."""
    cloud = _start(children, folder, "cloud", "cloud")
    edge = _start(children, folder, "edge", "edge", cloud={"target": cloud})
    found = []
    async with AsyncExitStack() as opened:
        near = await opened.enter_async_context(_device(edge))
        far = await opened.enter_async_context(_device(cloud))
        for name, cut in (("passed on as it came", 3), ("decoded, run and encoded anew", 2)):
            up = near.frame(cut, 0, Handover(3, 0))
            await _until_passed_up(near, up)
            added = [await _added_s(near, far, up) for _ in range(ROUNDS)]
            found.append(
                Figure.of_runs(f"{name}: p50 added by the edge", [1000 * one for one in added], "ms", 1.0, "at most",
                               "hop, work and cloud each by itself")
            )  # fmt: skip
    return found


async def _added_s(near: _Device, far: _Device, up: Frame) -> float:
    """Of one round, kind by kind in turns: the median of each."""
    relayed, hops, beyond, work = [], [], [], []
    last = far.frame(3, 0)
    here = near.frame(up.cut, up.level)
    for _ in range(TRIPS):
        took_s, answer = await near.trip(up, ["cloud"])
        relayed.append(took_s)
        work.append(1e-6 * (answer.timings.decode_us + answer.timings.run_us))
        beyond.append((await far.trip(last, ["cloud"]))[0])
        took_s, answer = await near.trip(here, ["edge"])
        hops.append(took_s - 1e-6 * answer.timings.total_us)
    return statistics.median(relayed) - sum(map(statistics.median, (hops, work, beyond)))


async def _bottleneck(children: Children, folder: Path) -> list[Figure]:
    """Two edges over one thin link: one hands over what it is asked to, one may choose."""
    cloud = _start(children, folder, "cloud", "far-cloud")
    direction = DirectionSettings(kind="rate", rate_bps=RATE_BPS, delay_s=DELAY_S)
    link = start_link(children, "link", folder, direction, direction, {"cloud": cloud})
    link.tell("start")
    above = {"cloud": {"target": f"127.0.0.1:{link.ready['ports']['cloud']}"}, "emulated_slowdown": SLOWDOWN}
    asked_edge = _start(children, folder, "edge", "edge-as-asked", **above)
    choosing_edge = _start(
        children, folder, "edge", "edge-that-chooses", **above, relay={"accuracy_loss": ACCURACY_LOSS}
    )
    async with AsyncExitStack() as opened:
        asked = await opened.enter_async_context(_device(asked_edge))
        choosing = await opened.enter_async_context(_device(choosing_edge))
        raw = [level.codec for level in asked.bundle.manifest.cuts[2].levels].index("raw")
        frame = asked.frame(2, raw, Handover(2, raw))
        for device in (asked, choosing):
            await _until_passed_up(device, frame)
        ratios, times_s = [], []
        by_cloud: list[bool] = []
        for _ in range(ROUNDS):
            as_asked = [(await asked.trip(frame, ["cloud"]))[0] for _ in range(SLOW_TRIPS // 5)]
            chosen = [await choosing.trip(frame, ["cloud", "edge"]) for _ in range(SLOW_TRIPS)]
            times_s.append(statistics.median(took_s for took_s, _ in chosen))
            by_cloud += [answer.answered_by == "cloud" for _, answer in chosen]
            ratios.append(statistics.median(as_asked) / times_s[-1])
    return [
        Figure.of_runs("raw features over a thin uplink: latency", ratios, "times", 1.5, "at least",
                       "the same, at the level that the edge chooses"),
        Figure.of_runs("that latency, chosen by the edge", [1000 * one for one in times_s], "ms"),
        Figure("share of them that the cloud answered", statistics.fmean(by_cloud), ""),
    ]  # fmt: skip
