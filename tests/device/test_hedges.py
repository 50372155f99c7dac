"""Going on locally on the live device, when a tier falls silent without a word."""

import asyncio
import signal

import pytest

from tests.device.conftest import assert_each_ended_once, assert_says
from tests.device.processes import start_tier

SLOW = 300.0
"""Makes the tiny model so slow on the device that a tier is worth its while."""


@pytest.mark.parametrize("hedge", [True, pytest.param(False, marks=pytest.mark.slow)])
async def test_frames_in_flight_to_a_silent_tier_are_answered_by_the_device(device, truth, tiny_bundle, hedge):
    program, port = await start_tier("edge", tiny_bundle.path)
    running = asyncio.create_task(
        device.run(
            source__limit=80, source__rate_hz=20.0, deadline_s=0.5, emulated_slowdown=SLOW, measure_s=0.2,
            edge__target=f"127.0.0.1:{port}", policy__hedge=hedge, policy__price=0.0, policy__crowding=0.0,
        )
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            while sum(line["by"] == "edge" for line in device.lines()) < 10:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        program.process.send_signal(signal.SIGSTOP)
        lines = await running
    finally:
        program.process.send_signal(signal.SIGCONT)
        await program.kill()
    assert_each_ended_once(lines, 80)
    hedged = [line for line in lines if line["hedge_s"] > 0]
    if not hedge:
        assert not hedged
        return
    alone = [line for line in hedged if line["by"] == "device"]
    # A hedge begins at the last moment that leaves time: on a busy machine a few come late all the same.
    assert sum(line["in_time"] for line in alone) > len(alone) / 2
    for line in alone:
        assert line["route"] == "edge"
        if not line["exit"]:
            assert_says(line, truth(line["source"]))
