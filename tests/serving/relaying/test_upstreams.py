"""Several clouds above one edge: each failure of one is made good by another, and a late one is overtaken."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np
import pytest

from edge.settings import RelaySettings, load
from protocol.errors import Code
from protocol.messages import Frame, Handover, Refusal, Result
from runtime.errors import SettingsError
from tests.runtime.tiny_bundle import TinyBundle
from tests.serving.occupied import occupied
from tests.serving.tiers import Device, a_cloud_that, a_device, a_tier, logits_of, whole
from transport.settings import Dial
from transport.stream import Handler, Request


async def _refusing(request: Request) -> Refusal:
    return Refusal(request.frame.id, Code.OVERLOADED, "busy")


async def _silent(request: Request) -> Result:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize("handler", [_refusing, _silent], ids=["refuses", "is silent"])
async def test_where_one_cloud_fails_the_other_answers(tiny_bundle: TinyBundle, handler: Handler) -> None:
    path, item = tiny_bundle.path, tiny_bundle.items[0]
    async with (
        a_cloud_that(handler, path) as bad,
        a_tier("cloud", path) as good,
        a_tier("edge", path, Dial(target=f"127.0.0.1:{bad.port}"), good.dial) as edge,
        a_device(path, edge.dial) as device,
    ):
        for _ in range(3):
            result = await device.answer(device.frame(item, 1, handover=Handover(2, device.raw_level(2))))
            assert result.answered_by == "cloud"
            np.testing.assert_allclose(logits_of(result), whole(tiny_bundle.whole, item), atol=1e-4)


async def test_a_cloud_that_dies_with_the_frame_loses_none(tiny_bundle: TinyBundle) -> None:
    path = tiny_bundle.path
    reached = asyncio.Event()

    async def dying(request: Request) -> Result:
        reached.set()
        return await _silent(request)

    async with AsyncExitStack() as opened:
        first = await opened.enter_async_context(a_cloud_that(dying, path))
        second = await opened.enter_async_context(a_tier("cloud", path))
        edge = await opened.enter_async_context(
            a_tier("edge", path, Dial(target=f"127.0.0.1:{first.port}"), second.dial)
        )
        device = await opened.enter_async_context(a_device(path, edge.dial))
        asked = asyncio.create_task(device.answer(_as_it_is(device, tiny_bundle)))
        await reached.wait()
        await first.stop()
        assert (await asked).answered_by == "cloud"


async def test_when_every_cloud_refuses_the_edge_finishes(tiny_bundle: TinyBundle) -> None:
    path = tiny_bundle.path
    async with (
        a_cloud_that(_refusing, path) as one,
        a_cloud_that(_refusing, path) as other,
        a_tier("edge", path, *(Dial(target=f"127.0.0.1:{cloud.port}") for cloud in (one, other))) as edge,
        a_device(path, edge.dial) as device,
    ):
        assert (await device.answer(_as_it_is(device, tiny_bundle))).answered_by == "edge"


async def test_a_frame_at_fault_is_not_sent_to_every_cloud(tiny_bundle: TinyBundle) -> None:
    """A refusal that says something of the frame is final."""
    path = tiny_bundle.path
    asked: Counter[str] = Counter()

    def expired(name: str) -> Handler:
        async def handler(request: Request) -> Refusal:
            asked[name] += 1
            return Refusal(request.frame.id, Code.EXPIRED, "too late")

        return handler

    async with AsyncExitStack() as opened:
        clouds = [await opened.enter_async_context(a_cloud_that(expired(name), path)) for name in ("one", "other")]
        dials = [Dial(target=f"127.0.0.1:{cloud.port}") for cloud in clouds]
        edge = await opened.enter_async_context(a_tier("edge", path, *dials))
        device = await opened.enter_async_context(a_device(path, edge.dial))
        answer = await device.ask(_as_it_is(device, tiny_bundle))
        assert isinstance(answer, Refusal)
        assert answer.code is Code.EXPIRED
        assert sum(asked.values()) == 1


async def test_two_edges_share_one_cloud(tiny_bundle: TinyBundle) -> None:
    path, item = tiny_bundle.path, tiny_bundle.items[1]
    async with AsyncExitStack() as opened:
        cloud = await opened.enter_async_context(a_tier("cloud", path))
        edges = [await opened.enter_async_context(a_tier("edge", path, cloud.dial)) for _ in range(2)]
        devices = [await opened.enter_async_context(a_device(path, edge.dial)) for edge in edges]
        frames = [(device, device.frame(item, 1, handover=Handover(2, 0))) for device in devices for _ in range(4)]
        results = await asyncio.gather(*(device.answer(frame) for device, frame in frames))
        assert {result.answered_by for result in results} == {"cloud"}
        for one, other in itertools.pairwise(results):
            np.testing.assert_allclose(logits_of(one), logits_of(other), rtol=1e-4, atol=1e-5)


async def test_an_edge_that_may_choose_answers_as_the_whole_model(tiny_bundle: TinyBundle) -> None:
    path = tiny_bundle.path
    async with (
        a_tier("cloud", path) as cloud,
        a_tier("edge", path, cloud.dial, relay=RelaySettings().build) as edge,
        a_device(path, edge.dial) as device,
    ):
        for item in tiny_bundle.items:
            result = await device.answer(device.frame(item, 1, handover=Handover(1, device.raw_level(1))))
            assert int(logits_of(result).argmax()) == int(whole(tiny_bundle.whole, item).argmax())


@pytest.mark.parametrize("may_choose", [True, False])
async def test_what_an_edge_has_no_time_for_goes_up_if_the_edge_may_choose(
    tiny_bundle: TinyBundle, may_choose: bool
) -> None:
    path, item = tiny_bundle.path, tiny_bundle.items[0]
    relay = RelaySettings().build if may_choose else None
    async with (
        a_tier("cloud", path) as cloud,
        a_tier("edge", path, cloud.dial, relay=relay, capacity=1) as edge,
        a_device(path, edge.dial) as device,
    ):
        frame = device.frame(item, 1)
        assert (await device.answer(frame)).answered_by == "edge"
        async with occupied(edge.tier.workers):
            answer = await device.ask(frame)
        if may_choose:
            assert isinstance(answer, Result)
            assert answer.answered_by == "cloud"
            np.testing.assert_allclose(logits_of(answer), whole(tiny_bundle.whole, item), atol=1e-4)
        else:
            assert isinstance(answer, Refusal)
            assert answer.code is Code.OVERLOADED


def _as_it_is(device: Device, bundle: TinyBundle) -> Frame:
    """A frame to be passed up as it comes."""
    return device.frame(bundle.items[0], 1, handover=Handover(1, device.raw_level(1)))


def test_both_ways_to_name_clouds_at_once_are_refused(tmp_path: Path) -> None:
    config = tmp_path / "edge.toml"
    config.write_text(
        'bundles = ["x"]\n[cloud]\ntarget = "a:1"\n[[clouds]]\ntarget = "b:1"\n[[clouds]]\ntarget = "c:1"\n'
    )
    with pytest.raises(SettingsError, match=r"\[\[clouds\]\]"):
        load(config)
    config.write_text('bundles = ["x"]\n[[clouds]]\ntarget = "b:1"\n[[clouds]]\ntarget = "c:1"\n[relay]\n')
    assert [dial.target for dial in load(config).above] == ["b:1", "c:1"]
