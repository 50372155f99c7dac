"""Tiers in this process on real sockets, and frames made as a device makes them."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocol.messages import Frame, Handover, Hello, Refusal, Result
from runtime.bundle import Bundle
from runtime.codecs import Codecs
from runtime.engines.onnxruntime import OnnxRuntimeEngine
from runtime.stage import Stage
from serving.relaying.upstreams import Upstreams
from serving.tier import Tier
from serving.upstream import Upstream
from transport.server import FrameServer, Identity
from transport.settings import Dial, Listen
from transport.stream import Handler

AMPLE_US = 60_000_000


@dataclass(frozen=True)
class Running:
    tier: Tier
    server: FrameServer
    upstream: Upstreams | None

    @property
    def dial(self) -> Dial:
        return Dial(target=f"127.0.0.1:{self.server.port}")


@asynccontextmanager
async def a_tier(name: str, path: Path, *above: Dial, **options: Any) -> AsyncIterator[Running]:
    with Bundle.open(path) as bundle:
        hello = Hello(name, (bundle.digest,))
        upstream = Upstreams([Upstream(dial, hello) for dial in above]) if above else None
        tier = Tier(name, [bundle], OnnxRuntimeEngine(), upstream=upstream, clock=time.monotonic, **options)
        server = FrameServer(tier, Listen(), Identity(name, tier.digests), load=tier.load)
        await tier.start()
        await server.start()
        if upstream is not None:
            upstream.start()
            async with asyncio.timeout(20):
                await upstream.until_ready()
        try:
            yield Running(tier, server, upstream)
        finally:
            await server.stop()
            if upstream is not None:
                await upstream.close()
            await tier.stop()


@asynccontextmanager
async def a_cloud_that(handler: Handler, path: Path, port: int = 0) -> AsyncIterator[FrameServer]:
    """A server of the bundle's name with any handler."""
    with Bundle.open(path) as bundle:
        server = FrameServer(handler, Listen(port=port), Identity("cloud", lambda: (bundle.digest,)))
        await server.start()
        try:
            yield server
        finally:
            await server.stop()


class Device:
    """Makes frames of a bundle, and asks a tier about them one at a time."""

    def __init__(self, path: Path, dial: Dial) -> None:
        self.bundle = Bundle.open(path)
        engine = OnnxRuntimeEngine()
        self.stage, self.codecs = Stage(self.bundle, engine), Codecs(self.bundle, engine)
        self.tier = Upstream(dial, Hello("device", (self.bundle.digest,)))
        self._ids = itertools.count(1)

    def raw_level(self, cut: int) -> int:
        return [level.codec for level in self.bundle.manifest.cuts[cut].levels].index("raw")

    def frame(self, item: NDArray[Any], cut: int, level: int | None = None, handover: Handover | None = None) -> Frame:
        level = self.raw_level(cut) if level is None else level
        activation = self.stage.run(item, 0, cut)[0]
        return Frame.build(
            id=next(self._ids),
            bundle=self.bundle.tag,
            cut=cut,
            level=level,
            shape=activation.shape[1:],
            payload=self.codecs.at(cut, level).encode(activation),
            remaining_us=AMPLE_US,
            handover=handover,
        )

    async def ask(self, frame: Frame) -> Result | Refusal:
        async with asyncio.timeout(30):
            return await self.tier.ask(frame)

    async def answer(self, frame: Frame) -> Result:
        answer = await self.ask(frame)
        assert isinstance(answer, Result), answer
        return answer


@asynccontextmanager
async def a_device(path: Path, dial: Dial) -> AsyncIterator[Device]:
    device = Device(path, dial)
    device.tier.start()
    try:
        async with asyncio.timeout(20):
            await device.tier.until_ready()
        yield device
    finally:
        await device.tier.close()
        device.bundle.close()


def whole(model: Path, item: NDArray[Any]) -> NDArray[Any]:
    """Logits of the unsplit model, [classes]."""
    logits: NDArray[Any] = OnnxRuntimeEngine().load(model).run([item])[0][0]
    return logits


def logits_of(result: Result) -> NDArray[np.float32]:
    (output,) = result.outputs
    return output.array()
