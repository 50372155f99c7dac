import asyncio

import numpy as np
import pytest
from PIL import Image

from device.errors import PlanError, SourceError
from tests.device.conftest import assert_each_ended_once, assert_says

NOBODY = "127.0.0.1:9"


async def test_with_no_tier_configured_it_answers_alone_as_the_whole_model_does(device, truth, capsys):
    lines = await device.run(
        source__limit=12, source__keep="all", policy__name="fixed", policy__cut=3, policy__route="device"
    )
    assert_each_ended_once(lines, 12)
    assert all((line["ended"], line["by"], line["exit"]) == ("answered", "device", False) for line in lines)
    assert all(line["device_s"] > 0 for line in lines)
    for line in lines:
        assert_says(line, truth(line["source"]))
    ready, done = capsys.readouterr().out.splitlines()
    assert '"event": "ready"' in ready
    assert '"frames": 12, "answered": 12, "expired": 0, "dropped": 0' in done


async def test_tiers_that_cannot_be_reached_do_not_stop_it(device):
    lines = await device.run(source__limit=8, source__keep="all", edge__target=NOBODY, cloud__target=NOBODY)
    assert_each_ended_once(lines, 8)
    assert {line["by"] for line in lines} == {"device"}


async def test_an_exit_answers_for_the_model(device):
    lines = await device.run(source__limit=4, policy__name="fixed", policy__cut=1, policy__route="device")
    answered = [line for line in lines if line["ended"] == "answered"]
    assert answered
    assert all(line["exit"] and line["cut"] == 1 for line in answered)


async def test_a_fixed_route_to_an_absent_tier_drops_with_the_reason(device):
    lines = await device.run(
        source__limit=4, edge__target=NOBODY,
        policy__name="fixed", policy__cut=1, policy__level=0, policy__route="edge",
    )  # fmt: skip
    assert_each_ended_once(lines, 4)
    assert all((line["ended"], line["reason"]) == ("dropped", "edge is unreachable") for line in lines)


async def test_a_corrupt_picture_is_dropped_and_the_rest_go_on(device):
    (device.pictures / "2.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    Image.new("RGB", (5, 5)).save(device.pictures / "3.png")
    lines = await device.run(source__limit=6, source__keep="all")
    assert_each_ended_once(lines, 6)
    by_name = {line["source"]: line for line in lines}
    assert by_name["2.png"]["ended"] == by_name["3.png"]["ended"] == "dropped"
    assert "2.png cannot be read" in by_name["2.png"]["reason"]
    assert "[1, 5, 5, 3]" in by_name["3.png"]["reason"]
    assert all(by_name[f"{number}.png"]["ended"] == "answered" for number in (0, 1, 4, 5))


async def test_a_slow_device_answers_the_latest_and_drops_the_replaced(device):
    lines = await device.run(source__limit=30, source__rate_hz=500.0, emulated_slowdown=200.0, deadline_s=5.0)
    assert_each_ended_once(lines, 30)
    dropped = [line for line in lines if line["ended"] == "dropped"]
    assert dropped
    assert {line["reason"] for line in dropped} == {"a newer frame replaced it"}
    assert max(line["frame"] for line in lines if line["ended"] == "answered") == 30


async def test_a_frame_that_waits_beyond_its_deadline_expires(device):
    lines = await device.run(
        source__limit=20, source__rate_hz=1000.0, source__keep="all", emulated_slowdown=300.0, deadline_s=0.05,
        policy__name="fixed", policy__cut=3, policy__route="device",
    )  # fmt: skip
    assert_each_ended_once(lines, 20)
    assert "the device was busy until the deadline" in {line["reason"] for line in lines}
    late = [line for line in lines if line["ended"] == "answered" and line["latency_s"] > 0.05]
    assert not any(line["in_time"] for line in late)


async def test_a_stop_ends_all_that_is_open(device):
    stop = asyncio.Event()
    running = asyncio.create_task(
        device.run(stop=stop, source__rate_hz=1000.0, source__keep="all", emulated_slowdown=300.0, deadline_s=30.0)
    )
    async with asyncio.timeout(90):
        while not device.lines():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    stop.set()
    lines = await running
    assert_each_ended_once(lines)
    assert "agent stopped" in {line["reason"] for line in lines if line["ended"] == "dropped"}


async def test_arrays_are_a_source_too(device, tiny_bundle, truth):
    for path in device.pictures.iterdir():
        path.unlink()
    np.save(device.pictures / "0.npy", tiny_bundle.items[0][0])
    (line,) = await device.run(source__limit=1, policy__name="fixed", policy__cut=3, policy__route="device")
    assert_says(line, truth("0"))


async def test_a_disk_that_takes_nothing_does_not_stop_the_answers(device, capsys, caplog):
    """History, spool and a sink without a place: frames are answered, and each is told what it cannot do."""
    (device.folder / "file").write_text("")
    await device.run(
        source__limit=6, source__keep="all", deadline_s=30.0, policy__name="fixed", policy__cut=3,
        policy__route="device", history__path="/dev/full", spool__path=str(device.folder / "file" / "spool.db"),
        sinks=[{"kind": "jsonl", "path": str(device.folder / "file" / "answers.jsonl")}],
    )  # fmt: skip
    assert '"answered": 6' in capsys.readouterr().out
    for told in ("No space left", "nothing is kept", "answers cannot be written"):
        assert told in caplog.text


async def test_a_missing_folder_is_told(device):
    with pytest.raises(SourceError, match=r"source\.path"):
        await device.run(source__path=str(device.folder / "absent"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"policy__cut": 2, "policy__route": "device"}, "set it to 3 for the whole model"),
        ({"policy__cut": 1, "policy__level": 9, "policy__route": "edge", "edge__target": NOBODY}, "level 9"),
        ({"policy__cut": 7, "policy__level": 0, "policy__route": "edge", "edge__target": NOBODY}, "cut 7"),
        ({"policy__cut": 1, "policy__level": 0, "policy__route": "cloud", "edge__target": NOBODY}, "needs a target"),
    ],
)
async def test_a_fixed_choice_that_does_not_exist_is_told(device, changes, told):
    with pytest.raises(PlanError, match=told):
        await device.run(policy__name="fixed", **changes)
