"""The agent's pipeline: overlap of compute and link, its own overhead, changes of cut and level, and still scenes."""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from adaptation.plan import Choice, Route
from benchmarks import camera
from benchmarks.figure import Figure
from benchmarks.overhead import overhead_s
from device.compute import Compute
from device.figures import Figures
from device.frames import OpenFrame
from device.program import run
from device.settings import load
from isthmus.builtin.demo import BUNDLE
from protocol.messages import Result, Tensor, Timings
from runtime.bundle import Bundle
from runtime.codecs import Codecs
from runtime.engines import engine_named
from runtime.measure import time_parts
from runtime.stage import Stage
from runtime.stretch import Stretch
from transport.server import FrameServer, Identity
from transport.settings import Listen
from transport.stream import Request

FRAMES = 150
CUT, LEVEL = 2, 0
STAGE_S = 0.02
"""What head and link take each, stretched: long beside what a busy machine adds."""


@dataclass(frozen=True)
class Stages:
    """Medians of one run, in seconds: between two answers, and of each stage."""

    interval_s: float
    device_s: float
    link_s: float


def figures() -> Sequence[Figure]:
    """The promises of the pipeline."""
    slowdown = max(1.0, STAGE_S / _head_s())
    alone_s = asyncio.run(_pipelined(slowdown, link_s=0.0)).device_s
    together = asyncio.run(_pipelined(slowdown, link_s=alone_s))
    slowest_s, sequence_s = max(alone_s, together.link_s), alone_s + together.link_s
    told = f"head alone {1e3 * alone_s:.1f} ms, link {1e3 * together.link_s:.1f} ms"
    found = [
        Figure("throughput of the slowest stage's", slowest_s / together.interval_s, "share", 0.9, "at least", told),
        Figure("throughput of the sequence's", sequence_s / together.interval_s, "times", 1.6, "at least", told),
        Figure("own overhead per frame, p99", 1e3 * overhead_s(0.99), "ms", 1.0, "at most", "all but engine and codec"),
        Figure("change of cut or level", 1e3 * _change_s(), "ms", 1.0, "below", "from decision to head"),
    ]
    return [*found, *camera.figures()]


def _settings(folder: Path, port: int, slowdown: float) -> dict[str, Any]:
    return {
        "bundle": str(BUNDLE), "measure_s": 0.5, "deadline_s": 30.0, "emulated_slowdown": slowdown,
        "source.path": str(folder), "source.rate_hz": 1000.0, "source.limit": FRAMES, "source.keep": "all",
        "history.path": str(folder / "history.jsonl"), "edge.target": f"127.0.0.1:{port}", "policy.name": "fixed",
        "policy.cut": CUT, "policy.level": LEVEL, "policy.route": "edge",
    }  # fmt: skip


async def _pipelined(slowdown: float, link_s: float) -> Stages:
    """A run in which the device computes so much slower, and the link takes so long for each frame."""
    with Bundle.open(BUNDLE) as bundle:
        digest, classes = bundle.digest, bundle.manifest.outputs[0]

    link, took_s = asyncio.Lock(), []

    async def slow_link(request: Request) -> Result:
        async with link:  # one frame at a time, as a link serialises
            began_s = time.monotonic()
            await asyncio.sleep(link_s)
            took_s.append(time.monotonic() - began_s)
        logits = Tensor.of(classes.name, np.zeros(classes.shape, np.float32))
        return Result(request.frame.id, (logits,), "edge", timings=Timings(total_us=int(1e6 * link_s)))

    server = FrameServer(slow_link, Listen(), Identity("edge", lambda: [digest]), credits=64)
    await server.start()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _pictures(folder)
        await run(load(None, _settings(folder, server.port, slowdown)), stop=asyncio.Event())
        lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    await server.stop()
    answered = sorted(line["captured_s"] + line["latency_s"] for line in lines if line["ended"] == "answered")
    steady = answered[len(answered) // 5 :]
    interval_s = (steady[-1] - steady[0]) / (len(steady) - 1)
    device_s = statistics.median(line["device_s"] for line in lines if line["device_s"] > 0)
    return Stages(interval_s, device_s, statistics.median(took_s))


def _head_s() -> float:
    """Of the head and encoder that are used, on this machine."""
    with Bundle.open(BUNDLE) as bundle:
        item = np.zeros((1, *bundle.manifest.input.shape), bundle.manifest.input.dtype)
        profile = time_parts(bundle, engine_named("onnxruntime"), [item], budget_s=1.0)
    return sum(profile.segment_s[:CUT]) + profile.encode_s[CUT][LEVEL]


def _change_s() -> float:
    """Median extra time of a frame whose cut or level differs from the one before, over all pairs."""
    with Bundle.open(BUNDLE) as bundle:
        manifest = bundle.manifest
        engine = engine_named("onnxruntime")
        item = np.zeros((1, *manifest.input.shape), manifest.input.dtype)
        profile = time_parts(bundle, engine, [item], budget_s=0.2)
        figures_ = Figures(profile, slowdown=1.0, clock=time.monotonic)
        compute = Compute(manifest, Stage(bundle, engine), Codecs(bundle, engine), figures_, Stretch(), time.monotonic)
        pairs = [(cut.index, level) for cut in manifest.cuts[1:] for level in range(len(cut.levels))]
        try:
            return asyncio.run(_changes(compute, item, pairs))
        finally:
            compute.close()


async def _changes(compute: Compute, item: Any, pairs: Sequence[tuple[int, int]]) -> float:
    await compute.warm_up(item, (Choice(cut, level, Route.EDGE) for cut, level in pairs))

    async def encode(cut: int, level: int) -> float:
        frame = OpenFrame(id=1, name="", image=item, captured_s=0.0, deadline_s=1.0, activation=item)
        began_s = time.perf_counter()
        await compute.encode(frame, cut, level)
        return time.perf_counter() - began_s

    extra = []
    for pair in pairs:
        for other in pairs:
            changed_s, same_s = [], []
            for _ in range(3):
                await encode(*other)
                changed_s.append(await encode(*pair))
                same_s.append(await encode(*pair))
            extra.append(min(changed_s) - min(same_s))
    return statistics.median(extra)


def _pictures(folder: Path) -> None:
    with Bundle.open(BUNDLE) as bundle:
        shape = bundle.manifest.input.shape
    rng = np.random.default_rng(0)
    for number in range(8):
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{number}.png")
