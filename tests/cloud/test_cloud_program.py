"""The cloud as a program: it serves, refuses damaged bundles, and drains."""

from __future__ import annotations

import asyncio
import shutil
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np
import pytest

from cloud.program import run
from cloud.settings import Settings, load
from protocol.messages import Hello
from runtime.errors import BundleCorrupt, SettingsError
from serving.errors import TwiceServed
from tests.runtime.tiny_bundle import TinyBundle
from tests.serving.processes import a_program
from tests.serving.tiers import a_device, logits_of, whole
from transport.client import FrameClient
from transport.settings import Dial, Listen


async def test_it_answers_what_it_is_asked_even_a_handover(tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    arguments = (f'bundles=["{tiny_bundle.path}"]', "listen.port=0", "emulated_slowdown=1.5")
    with a_program("cloud", tmp_path / "log", *arguments) as cloud:
        async with a_device(tiny_bundle.path, cloud.dial) as device:
            assert (await device.answer(device.frame(tiny_bundle.items[0], 0))).answered_by == "cloud"


async def test_frames_may_come_in_datagrams_too(tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    pytest.importorskip("aioquic")
    arguments = (f'bundles=["{tiny_bundle.path}"]', "listen.port=0", "listen_datagrams.port=0")
    item = tiny_bundle.items[0]
    with a_program("cloud", tmp_path / "log", *arguments) as cloud:
        over_udp = Dial(target=f"127.0.0.1:{cloud.ready['datagrams']}", datagrams=True)
        async with a_device(tiny_bundle.path, over_udp) as device:
            result = await device.answer(device.frame(item, 1))
            np.testing.assert_allclose(logits_of(result), whole(tiny_bundle.whole, item), atol=1e-4)
        cloud.process.send_signal(signal.SIGTERM)
        assert cloud.process.wait(30) == 0


async def test_more_callers_than_streams_are_turned_away_until_one_leaves(
    tiny_bundle: TinyBundle, tmp_path: Path
) -> None:
    arguments = (f'bundles=["{tiny_bundle.path}"]', "listen.port=0", "streams=1")
    tried = asyncio.Event()

    async def between_tries(seconds: float) -> None:
        if "resource_exhausted" in second.reason:  # now and then gRPC says first that its core has an internal error
            tried.set()
        await asyncio.sleep(seconds)

    with a_program("cloud", tmp_path / "log", *arguments) as cloud:
        async with AsyncExitStack() as opened:
            first = await opened.enter_async_context(a_device(tiny_bundle.path, cloud.dial))
            second = FrameClient(cloud.dial, Hello("second"), lambda event: None, sleep=between_tries)
            second.start()
            opened.push_async_callback(second.close)
            async with asyncio.timeout(30):
                await tried.wait()
            assert (await first.answer(first.frame(tiny_bundle.items[0], 1))).answered_by == "cloud"
            await first.tier.close()
            async with asyncio.timeout(30):
                await second.until_ready()


async def test_stopping_ends_it(tiny_bundle: TinyBundle, capsys: pytest.CaptureFixture[str]) -> None:
    stop = asyncio.Event()
    stop.set()
    await run(Settings(bundles=(tiny_bundle.path,), listen=Listen()), stop=stop)
    assert '"event": "ready"' in capsys.readouterr().out


async def test_a_damaged_bundle_is_refused_at_the_start(tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_bundle.path, copy)
    segment = copy / "segment_1.onnx"
    content = segment.read_bytes()
    segment.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BundleCorrupt, match=r"segment_1\.onnx"):
        await run(Settings(bundles=(copy,), listen=Listen()), stop=asyncio.Event())


async def test_one_bundle_twice_is_refused(tiny_bundle: TinyBundle) -> None:
    settings = Settings(bundles=(tiny_bundle.path, tiny_bundle.path), listen=Listen())
    with pytest.raises(TwiceServed):
        await run(settings, stop=asyncio.Event())


def test_a_cloud_has_no_cloud_above_it() -> None:
    with pytest.raises(SettingsError, match="cloud"):
        load(None, {"bundles": ["x"], "cloud.target": "here:1"})
