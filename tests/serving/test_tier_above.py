"""What an edge does when its cloud is missing, gone, unwilling or silent: it finishes the frame itself."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from protocol.errors import Code
from protocol.messages import Handover, Refusal, Result
from tests.runtime.tiny_bundle import TinyBundle
from tests.serving.tiers import a_cloud_that, a_device, a_tier, logits_of, whole
from transport.settings import Dial
from transport.stream import Request


async def test_an_edge_without_a_cloud_finishes(tiny_bundle: TinyBundle) -> None:
    item = tiny_bundle.items[0]
    async with a_tier("edge", tiny_bundle.path) as edge, a_device(tiny_bundle.path, edge.dial) as device:
        result = await device.answer(device.frame(item, 1, handover=Handover(2, device.raw_level(2))))
        assert (result.answered_by, result.timings.upstream_us) == ("edge", 0)
        np.testing.assert_allclose(logits_of(result), whole(tiny_bundle.whole, item), atol=1e-4)


async def test_an_edge_whose_cloud_ends_finishes_and_uses_the_next_cloud(
    tiny_bundle: TinyBundle, reserved_port: int
) -> None:
    item, path = tiny_bundle.items[0], tiny_bundle.path
    reached = asyncio.Event()

    async def never(request: Request) -> Result:
        reached.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with AsyncExitStack() as opened:
        cloud = await opened.enter_async_context(a_cloud_that(never, path, reserved_port))
        edge = await opened.enter_async_context(a_tier("edge", path, _dial(reserved_port)))
        device = await opened.enter_async_context(a_device(path, edge.dial))
        for handover in (Handover(2, device.raw_level(2)), Handover(1, device.raw_level(1))):
            reached.clear()
            asked = asyncio.create_task(device.answer(device.frame(item, 1, handover=handover)))
            await reached.wait()
            await cloud.stop()
            result = await asked
            assert result.answered_by == "edge"
            np.testing.assert_allclose(logits_of(result), whole(tiny_bundle.whole, item), atol=1e-4)
            cloud = await opened.enter_async_context(a_cloud_that(never, path, reserved_port))
            assert edge.upstream is not None
            async with asyncio.timeout(20):
                await edge.upstream.until_ready()


async def test_a_silent_cloud_leaves_the_edge_time_to_finish(tiny_bundle: TinyBundle) -> None:
    path = tiny_bundle.path

    async def never(request: Request) -> Result:
        await asyncio.Event().wait()
        raise AssertionError

    async with (
        a_cloud_that(never, path) as cloud,
        a_tier("edge", path, _dial(cloud.port)) as edge,
        a_device(path, edge.dial) as device,
    ):
        await device.answer(device.frame(tiny_bundle.items[0], 1))
        frame = device.frame(tiny_bundle.items[0], 1, handover=Handover(1, device.raw_level(1)))
        result = await device.answer(replace(frame, remaining_us=3_000_000))
        assert result.answered_by == "edge"
        assert 0 < result.timings.upstream_us < result.timings.total_us


async def test_a_cloud_that_refuses_leaves_the_frame_to_the_edge(tiny_bundle: TinyBundle) -> None:
    path = tiny_bundle.path

    async def refusing(request: Request) -> Refusal:
        return Refusal(request.frame.id, Code.OVERLOADED, "busy")

    async with (
        a_cloud_that(refusing, path) as cloud,
        a_tier("edge", path, _dial(cloud.port)) as edge,
        a_device(path, edge.dial) as device,
    ):
        result = await device.answer(device.frame(tiny_bundle.items[0], 0, handover=Handover(2, 0)))
        assert result.answered_by == "edge"


async def test_a_cloud_with_another_bundle_leaves_the_frame_to_the_edge(
    tiny_bundle: TinyBundle, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_bundle.path, other)
    manifest = other / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"tiny"', b'"tine"'))
    async with (
        a_tier("cloud", other) as cloud,
        a_tier("edge", tiny_bundle.path, cloud.dial) as edge,
        a_device(tiny_bundle.path, edge.dial) as device,
    ):
        frame = device.frame(tiny_bundle.items[0], 1, handover=Handover(1, device.raw_level(1)))
        assert (await device.answer(frame)).answered_by == "edge"


def _dial(port: int) -> Dial:
    return Dial(target=f"127.0.0.1:{port}")
