"""Far more frames than a tier can answer in time, through real streams."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocol.errors import Code
from protocol.messages import Refusal, Result
from runtime.bundle import Bundle
from runtime.engines import LoadedModel
from runtime.engines.onnxruntime import OnnxRuntimeEngine
from serving.tier import Tier
from tests.runtime.tiny_bundle import TinyBundle
from tests.serving.tiers import Device, a_device, logits_of, whole
from transport.server import FrameServer, Identity
from transport.settings import Dial, Listen

ITEM_S = 0.01
DEVICES = 4
FRAMES = 30
"""Of each device, all at once."""
LEFT_US = 1_000_000
SEGMENTS = 3


class SlowEngine:
    """Takes a hundredth of a second for each item of a batch, and counts them."""

    name, threads = "slow", 1

    def __init__(self) -> None:
        self.items = 0

    def load(self, model: Path) -> LoadedModel:
        return _Slow(self, OnnxRuntimeEngine().load(model))


class _Slow:
    def __init__(self, engine: SlowEngine, model: LoadedModel) -> None:
        self._engine, self._model = engine, model

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        self._engine.items += len(inputs[0])
        time.sleep(ITEM_S * len(inputs[0]))
        return self._model.run(inputs)


async def test_the_frames_that_can_be_in_time_are_answered_and_the_rest_refused_early(tiny_bundle: TinyBundle) -> None:
    engine = SlowEngine()
    async with AsyncExitStack() as opened:
        bundle = opened.enter_context(Bundle.open(tiny_bundle.path))
        tier = Tier("edge", [bundle], engine, upstream=None, clock=time.monotonic)
        server = FrameServer(tier, Listen(), Identity("edge", tier.digests), load=tier.load)
        opened.push_async_callback(tier.stop)
        await tier.start()
        opened.push_async_callback(server.stop)
        await server.start()
        dial = Dial(target=f"127.0.0.1:{server.port}")
        devices = [await opened.enter_async_context(a_device(tiny_bundle.path, dial)) for _ in range(DEVICES)]
        engine.items = 0
        answers = [
            answer
            for some in await asyncio.gather(*(_at_once(device, tiny_bundle) for device in devices))
            for answer in some
        ]
        ended = Counter(answer.code if isinstance(answer, Refusal) else "answered" for answer in answers)
        assert sum(ended.values()) == DEVICES * FRAMES
        assert ended["answered"] + ended[Code.OVERLOADED] + ended[Code.EXPIRED] == DEVICES * FRAMES
        assert ended[Code.OVERLOADED] >= DEVICES * FRAMES // 3
        assert 0 < ended["answered"] * SEGMENTS * ITEM_S <= 1.5 * LEFT_US / 1e6
        assert ended["answered"] * SEGMENTS >= 0.7 * engine.items  # little was done for frames that got no answer
        for answer in answers:
            if isinstance(answer, Refusal) and answer.code is Code.OVERLOADED:
                assert 0 < answer.retry_after_us < 10 * DEVICES * FRAMES * SEGMENTS * ITEM_S * 1e6
        assert tier.load().queued == 0
        result = await devices[0].answer(devices[0].frame(tiny_bundle.items[0], 1))
        np.testing.assert_allclose(logits_of(result), whole(tiny_bundle.whole, tiny_bundle.items[0]), atol=1e-4)


async def _at_once(device: Device, tiny_bundle: TinyBundle) -> list[Result | Refusal]:
    frame = replace(device.frame(tiny_bundle.items[0], 0), remaining_us=LEFT_US)
    return list(await asyncio.gather(*(device.tier.ask(frame) for _ in range(FRAMES))))
