"""Streams over device, edge and cloud equal the recurrence they compute, whichever tier loses its part of them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from device.stepping.asking import Asker
from device.stepping.stepper import Stepper
from protocol.errors import Code
from protocol.messages import Frame, Handover, Hello, Refusal, Result
from runtime.bundle import Bundle
from runtime.engines.onnxruntime import OnnxRuntimeEngine
from runtime.streams import Place, needed, placed
from serving.metrics import Metrics
from serving.states import States
from tests.runtime import recurrent_bundle
from tests.serving.tiers import Running, a_tier
from transport.settings import Dial

RAW = 1


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recurrent_bundle.build(tmp_path_factory.mktemp("recurrent"))


class Talk:
    """A stream over one connection, compared with the truth at every step."""

    def __init__(self, stepper: Stepper, seed: int) -> None:
        self.stepper = stepper
        self._items = recurrent_bundle.items(60, seed)
        self._truth = recurrent_bundle.answers(self._items)

    async def steps(self, count: int) -> None:
        for _ in range(count):
            at = self.stepper.steps
            (output,) = await self.stepper.step(self._items[at])
            np.testing.assert_allclose(output.array(), self._truth[at], rtol=1e-4, atol=1e-4)


@asynccontextmanager
async def talking(path: Path, dial: Dial, *, cut: int = 1, handover: Handover | None = None) -> AsyncIterator[Talk]:
    with Bundle.open(path) as bundle:
        asker = Asker(dial, Hello("device", (bundle.digest,)))
        asker.start()
        try:
            async with asyncio.timeout(20):
                await asker.until_ready()
            stepper = Stepper(
                bundle, OnnxRuntimeEngine(), asker, stream=next(_STREAMS), cut=cut, level=RAW, handover=handover,
                patience_s=60.0,
            )  # fmt: skip
            yield Talk(stepper, seed=cut)
        finally:
            await asker.close()


_STREAMS = itertools.count(2**63)
UP = Handover(2, RAW)


def _tail_steps(tier: Running) -> int:
    """How often this tier ran the last segment."""
    steps = tier.tier.explained()["steps"]
    assert isinstance(steps, dict)
    (told,) = (told for step, told in steps.items() if step.startswith(f"run segment {recurrent_bundle.SEGMENTS - 1} "))
    return round(told["batches"] * told["mean_size"])


@pytest.mark.parametrize("cut", [0, 1, 2])
async def test_a_stream_over_three_tiers_equals_the_recurrence(path: Path, cut: int) -> None:
    async with a_tier("cloud", path) as cloud, a_tier("edge", path, cloud.dial) as edge:
        before = _tail_steps(cloud)
        async with talking(path, edge.dial, cut=cut, handover=UP) as talk:
            await talk.steps(8)
            assert talk.stepper.sent_again == 0
        assert _tail_steps(cloud) == before + 8


async def test_many_streams_at_once_do_not_mix(path: Path) -> None:
    async with a_tier("edge", path) as edge, AsyncExitStack() as opened:
        talks = [await opened.enter_async_context(talking(path, edge.dial, cut=cut)) for cut in (0, 1, 2, 0, 1, 2)]
        await asyncio.gather(*(talk.steps(10) for talk in talks))
        metrics = Metrics(lambda: 0.0)
        metrics.watch(edge.tier)
        assert metrics.registry.get_sample_value("isthmus_streams") == 6
        assert edge.tier.explained()["states"] == pytest.approx(
            {"streams": 6, "dropped": 0, "bytes": (3 + 2 + 1) * 2 * (recurrent_bundle.WIDTH * 4 + 8)}
        )


async def test_when_the_cloud_that_holds_the_state_dies_another_is_sent_it_by_the_edge(path: Path) -> None:
    async with AsyncExitStack() as opened:
        clouds = {}
        for name in ("one", "other"):
            alone = await opened.enter_async_context(AsyncExitStack())
            clouds[name] = alone, await alone.enter_async_context(a_tier("cloud", path))
        edge = await opened.enter_async_context(a_tier("edge", path, *(tier.dial for _, tier in clouds.values())))
        before = {name: _tail_steps(tier) for name, (_, tier) in clouds.items()}
        talk = await opened.enter_async_context(talking(path, edge.dial, handover=UP))
        await talk.steps(6)
        (home,) = [name for name, (_, tier) in clouds.items() if _tail_steps(tier) > before[name]]
        (spare,) = set(clouds) - {home}
        await clouds[home][0].aclose()
        await talk.steps(6)
        assert talk.stepper.sent_again == 0, "the edge has all that the cloud needs"
        assert _tail_steps(clouds[spare][1]) == before[spare] + 12


async def test_when_the_only_cloud_dies_the_edge_goes_on_with_what_the_device_sends_again(path: Path) -> None:
    async with AsyncExitStack() as opened:
        alone = await opened.enter_async_context(AsyncExitStack())
        cloud = await alone.enter_async_context(a_tier("cloud", path))
        edge = await opened.enter_async_context(a_tier("edge", path, cloud.dial))
        talk = await opened.enter_async_context(talking(path, edge.dial, handover=UP))
        await talk.steps(5)
        await alone.aclose()
        await talk.steps(5)
        assert talk.stepper.sent_again == 5


async def test_when_the_edge_drops_the_state_the_device_sends_it_again(path: Path) -> None:
    """Two streams in a tier with room for one."""
    states = States(1, 1e9, lambda: 0.0)
    async with a_tier("edge", path, states=states) as edge, AsyncExitStack() as opened:
        talks = [await opened.enter_async_context(talking(path, edge.dial, cut=cut)) for cut in (1, 2)]
        for _ in range(4):
            for talk in talks:
                await talk.steps(1)
        assert all(talk.stepper.sent_again for talk in talks)
        assert states.dropped >= 6


async def test_a_step_that_does_not_follow_asks_for_the_stream_and_a_payload_without_a_place_is_refused(
    path: Path,
) -> None:
    async with a_tier("edge", path) as edge:
        with Bundle.open(path) as bundle:
            asker = Asker(edge.dial, Hello("device", (bundle.digest,)))
            asker.start()
            async with asyncio.timeout(20):
                await asker.until_ready()
            payload = bytes(4 * recurrent_bundle.WIDTH)
            answers = [
                await asker.ask(_frame(bundle, whole))
                for whole in (
                    placed(Place(9, 3), payload),
                    placed(Place(9, 0), payload),
                    placed(Place(9, 5), payload),
                    payload[:5],
                    placed(Place(9, 1), payload + b"more"),
                )
            ]
            await asker.close()
    assert [needed(answer) for answer in answers[:3] if isinstance(answer, Result)] == [0, None, 1]
    assert [answer.code for answer in answers[3:] if isinstance(answer, Refusal)] == [Code.UNDECODABLE, Code.TOO_LONG]


def _frame(bundle: Bundle, payload: bytes) -> Frame:
    shape = (recurrent_bundle.WIDTH,)
    return Frame.build(id=1, bundle=bundle.tag, cut=1, level=RAW, shape=shape, payload=payload, remaining_us=60_000_000)
