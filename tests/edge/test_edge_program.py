"""The edge as a process of its own, with a cloud above it."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import numpy as np
import pytest

from protocol.messages import Handover
from serving.errors import UpstreamUnreachable
from tests.runtime.tiny_bundle import TinyBundle
from tests.serving.processes import a_program, failing
from tests.serving.tiers import Device, a_device, a_tier, logits_of, whole


def settings(path: Path, bundle: Path, *lines: str) -> str:
    text = [f'bundles = ["{bundle}"]', *lines, "[listen]", "port = 0"]
    path.write_text("\n".join(text))
    return str(path)


async def test_frames_go_through_two_processes_at_every_cut(tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    item = tiny_bundle.items[0]
    truth = whole(tiny_bundle.whole, item)
    log = tmp_path / "log"
    with a_program("cloud", log, settings(tmp_path / "cloud.toml", tiny_bundle.path)) as cloud:
        above = f"cloud.target={cloud.dial.target}"
        with a_program("edge", log, settings(tmp_path / "edge.toml", tiny_bundle.path), above) as edge:
            assert (edge.ready["event"], edge.ready["tier"], cloud.ready["tier"]) == ("ready", "edge", "cloud")
            async with a_device(tiny_bundle.path, edge.dial) as device:
                assert edge.ready["bundles"] == [device.bundle.digest.hex()]
                for cut in range(3):
                    result = await device.answer(device.frame(item, cut))
                    assert result.answered_by == "edge"
                    np.testing.assert_allclose(logits_of(result), truth, atol=1e-4)
                    handover = Handover(2, device.raw_level(2))
                    by = ""
                    async with asyncio.timeout(20):
                        while by != "cloud":
                            result = await device.answer(device.frame(item, cut, handover=handover))
                            np.testing.assert_allclose(logits_of(result), truth, atol=1e-4)
                            by = result.answered_by
            edge.process.send_signal(signal.SIGTERM)
            assert edge.process.wait(30) == 0
        cloud.process.send_signal(signal.SIGINT)
        assert cloud.process.wait(30) == 0


async def test_an_edge_killed_and_started_again_is_used_again(
    tiny_bundle: TinyBundle, tmp_path: Path, reserved_port: int
) -> None:
    arguments = tmp_path / "log", settings(tmp_path / "edge.toml", tiny_bundle.path), f"listen.port={reserved_port}"
    with a_program("edge", *arguments) as edge:
        async with a_device(tiny_bundle.path, edge.dial) as device:
            await device.answer(device.frame(tiny_bundle.items[0], 1))
            edge.process.send_signal(signal.SIGKILL)
            with pytest.raises(UpstreamUnreachable):
                await _answers_for_ever(device, tiny_bundle)
            edge.process.wait()
            with a_program("edge", *arguments):
                async with asyncio.timeout(20):
                    await device.tier.until_ready()
                await device.answer(device.frame(tiny_bundle.items[0], 1))


async def _answers_for_ever(device: Device, bundle: TinyBundle) -> None:
    while True:
        await device.answer(device.frame(bundle.items[0], 1))


async def test_a_port_in_use_is_one_sentence_and_exit_code_4(tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    config = settings(tmp_path / "edge.toml", tiny_bundle.path)
    async with a_tier("edge", tiny_bundle.path) as other:
        ended = await asyncio.to_thread(failing, "edge", config, f"listen.port={other.server.port}")
    assert ended.returncode == 4
    assert f"port {other.server.port} on 127.0.0.1 is in use" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ('listen.host="0.0.0.0"', 4, "[listen.tls]"),
        ("cloud.targett=here:1", 2, "target"),
        ("creditz=3", 2, "credits"),
        ("engine.name=onnxruntme", 2, "onnxruntime"),
        ('bundles=["/nowhere/at/all"]', 3, "/nowhere/at/all"),
    ],
)
def test_bad_settings_are_one_sentence_and_an_exit_code(
    tiny_bundle: TinyBundle, tmp_path: Path, line: str, code: int, words: str
) -> None:
    ended = failing("edge", settings(tmp_path / "edge.toml", tiny_bundle.path), line)
    assert ended.returncode == code, ended.stderr
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
    assert ended.stdout == ""
