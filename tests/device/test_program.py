import asyncio
import json
import signal
from pathlib import Path

import pytest

from tests.device.conftest import assert_each_ended_once
from tests.device.processes import Program, start_tier

WATCHED = """
import asyncio, json, sys
from device.program import run
from device.settings import load
asyncio.run(run(load(None, json.loads(sys.argv[1]))))
print(json.dumps(sorted({"torch", "compressai", "onnx", "grpc"}.intersection(sys.modules))))
"""


def arguments(device, folder: Path, **changes: object) -> list[str]:
    """A settings file without keys, and everything as overrides."""
    config = folder / "device.toml"
    config.write_text("")
    return [str(config), *(f"{key}={value}" for key, value in device.settings(**changes).items())]


async def test_a_live_device_imports_neither_torch_nor_compressai(device, tiny_bundle):
    tier, port = await start_tier("edge", tiny_bundle.path)
    settings = device.settings(
        source__limit=40, edge__target=f"127.0.0.1:{port}",
        policy__name="fixed", policy__cut=1, policy__level=0, policy__route="edge",
    )  # fmt: skip
    code, out, errors = await (await Program.start("-c", WATCHED, json.dumps(settings))).end()
    await tier.kill()
    assert code == 0, errors
    *_, done, imported = map(json.loads, out.splitlines())
    assert done["answered"] > 0
    assert imported == ["grpc"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_with_every_frame_accounted_for(device, tmp_path, number):
    changes = {"source__rate_hz": 200.0, "source__keep": "all", "emulated_slowdown": 300.0, "deadline_s": 20.0}
    program = await Program.start("-m", "device", *arguments(device, tmp_path, **changes))
    assert (await program.line())["event"] == "ready"
    await some_lines(device)
    program.process.send_signal(number)
    code, out, _ = await program.end()
    done = json.loads(out)
    assert code == 0
    assert done["lost"] == 0
    lines = device.lines()
    assert_each_ended_once(lines, done["frames"])
    assert "agent stopped" in {line["reason"] for line in lines}


async def test_lines_of_ended_frames_survive_kill_9(device, tmp_path):
    program = await Program.start("-m", "device", *arguments(device, tmp_path))
    await some_lines(device)
    seen = device.lines()
    await program.kill()
    assert device.lines()[: len(seen)] == seen
    assert_each_ended_once(seen)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"source__rate_hs": 5}, "did you mean 'rate_hz'"),
        ({"source__path": "nowhere"}, "source.path 'nowhere' is not a folder"),
        ({"bundle": "nowhere"}, "nowhere"),
    ],
)
async def test_bad_settings_are_one_sentence(device, tmp_path, changes, told):
    code, out, errors = await (await Program.start("-m", "device", *arguments(device, tmp_path, **changes))).end()
    assert code == (3 if "bundle" in changes else 2)
    assert out == ""
    assert told in errors
    assert "Traceback" not in errors
    assert len(errors.splitlines()) == 1


async def some_lines(device) -> None:
    """Wait until the history has begun."""
    async with asyncio.timeout(30):
        while len(device.lines()) < 5:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
