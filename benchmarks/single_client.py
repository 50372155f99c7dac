"""One client that waits for each answer: a tier with its batcher, and the same door with a thread that runs frame by
frame; part of `bench batching`. Both in this process, on streams of their own, asked in turns frame by frame.

Whatever else the machine does lengthens frames of both sides alike, and by more than either takes at its p99. So the
sides are compared within rounds of many frames, each frame of one beside one of the other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.figure import Figure
from protocol.messages import Frame, Hello, Result, Tensor
from runtime.bundle import Bundle
from runtime.codecs import Codecs
from runtime.engines.onnxruntime import OnnxRuntimeEngine
from runtime.stage import Stage
from serving.tier import Tier
from serving.upstream import Upstream
from transport.server import FrameServer, Identity
from transport.settings import Dial, Listen
from transport.stream import Handler, Request

BUNDLE = Path(__file__).resolve().parent.parent / "isthmus" / "builtin" / "digits.bundle"
CUT, LEVEL = 1, 0
ROUNDS = 9
FRAMES = 2000
"""Of one round of one side: the p99 is the 20th slowest."""


class FrameByFrame:
    """What a tier would be without batches: each frame decoded and run in one go, in one thread."""

    def __init__(self, bundle: Bundle) -> None:
        engine = OnnxRuntimeEngine()
        self._stage, self._codecs, self._outputs = (
            Stage(bundle, engine),
            Codecs(bundle, engine),
            bundle.manifest.outputs,
        )
        self._thread = ThreadPoolExecutor(1)

    async def __call__(self, request: Request) -> Result:
        outputs = await asyncio.get_running_loop().run_in_executor(self._thread, self._run, request.frame)
        return Result(request.frame.id, outputs, "cloud")

    def _run(self, frame: Frame) -> tuple[Tensor, ...]:
        activation = self._codecs.at(frame.cut, frame.level).decode(frame.payload)
        outputs = self._stage.run(activation, frame.cut)
        return tuple(Tensor.of(spec.name, output[0]) for spec, output in zip(self._outputs, outputs, strict=True))


def figures() -> Sequence[Figure]:
    """Ratios of p50 and p99."""
    return asyncio.run(_measured())


async def _measured() -> list[Figure]:
    with Bundle.open(BUNDLE) as bundle:
        tier = Tier("cloud", [bundle], OnnxRuntimeEngine(), upstream=None, clock=time.monotonic)
        await tier.start()
        frame = _frame(bundle)
        async with _asked(tier, bundle) as batching, _asked(FrameByFrame(bundle), bundle) as plain:
            await _round((batching, plain), frame, FRAMES // 10)
            rounds = [await _round((batching, plain), frame, FRAMES) for _ in range(ROUNDS)]
        await tier.stop()
    against = "a thread that runs frame by frame"
    return [
        Figure.of_runs("one client, really: p50", _ratios(rounds, 0.5), "times", None, "at most", against),
        Figure.of_runs("one client, really: p99", _ratios(rounds, 0.99), "times", 1.1, "at most", against),
    ]


def _ratios(rounds: Sequence[tuple[list[float], list[float]]], quantile: float) -> list[float]:
    """Of a quantile of one side to that of the other, by round."""
    return [float(np.quantile(ours, quantile) / np.quantile(theirs, quantile)) for ours, theirs in rounds]


def _frame(bundle: Bundle) -> Frame:
    engine, spec = OnnxRuntimeEngine(), bundle.manifest.input
    picture = np.random.default_rng(1).integers(0, 256, (1, *spec.shape), dtype=np.uint8)
    activation = Stage(bundle, engine).run(picture, 0, CUT)[0]
    return Frame.build(
        id=1, bundle=bundle.tag, cut=CUT, level=LEVEL, shape=activation.shape[1:],
        payload=Codecs(bundle, engine).at(CUT, LEVEL).encode(activation), remaining_us=30_000_000,
    )  # fmt: skip


@asynccontextmanager
async def _asked(handler: Handler, bundle: Bundle) -> AsyncIterator[Upstream]:
    """A client of a handler behind the usual door."""
    server = FrameServer(handler, Listen(port=0), Identity("cloud", lambda: (bundle.digest,)))
    await server.start()
    client = Upstream(Dial(target=f"127.0.0.1:{server.port}"), Hello("bench", (bundle.digest,)))
    client.start()
    try:
        async with asyncio.timeout(60):
            await client.until_ready()
        yield client
    finally:
        await client.close()
        await server.stop()


async def _round(sides: tuple[Upstream, Upstream], frame: Frame, frames: int) -> tuple[list[float], list[float]]:
    """Seconds of the frames of each side; who is asked first changes with each pair."""
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(frames):
        for side in ((0, 1), (1, 0))[number % 2]:
            taken[side].append(await _asking_s(sides[side], frame))
    return taken


async def _asking_s(client: Upstream, frame: Frame) -> float:
    began_s = time.perf_counter()
    answer = await client.ask(frame)
    took_s = time.perf_counter() - began_s
    if not isinstance(answer, Result):
        raise RuntimeError(f"the frame was refused: {replace(answer, id=0)}")
    return took_s
