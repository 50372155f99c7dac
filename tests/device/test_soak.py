"""Twenty frames a second for minutes, over a link that comes and goes: nothing grows."""

import asyncio
import json
import os
import statistics
import time
from pathlib import Path

import numpy as np
import pytest

from protocol.messages import Result, Tensor
from runtime.bundle import Bundle
from tests.device.conftest import assert_each_ended_once
from tests.device.processes import Program
from tests.device.test_program import arguments
from transport.server import FrameServer, Identity
from transport.settings import Listen
from transport.stream import Request

WARM_UP = 0.4
"""Share of the time after which nothing may grow."""
SECONDS = float(os.environ.get("ISTHMUS_SOAK_S", "600"))


def resident_kib(pid: int) -> int:
    """Anonymous memory: pages of files that were mapped come and go with the page cache."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


async def soak(
    device, tmp_path: Path, port: int, seconds: float, *, period_s: float = 10.0
) -> list[tuple[int, int, int]]:
    """Run an agent; its tier is there for one period and away for the next.

    Returns KiB, descriptors and threads, as they are just before the tier goes.
    """
    seen = []
    with Bundle.open(device.bundle) as bundle:
        digest, logits = bundle.digest, bundle.manifest.outputs[0]

    async def answer(request: Request) -> Result:
        return Result(request.frame.id, (Tensor.of(logits.name, np.zeros(logits.shape, np.float32)),), "edge")

    changes = {
        "source__rate_hz": 20.0, "emulated_slowdown": 100.0, "edge__target": f"127.0.0.1:{port}",
        "spool__path": str(tmp_path / "spool.db"), "sinks": '[{kind="sqlite",path="%s"}]' % (tmp_path / "answers.db"),
        "status__port": 0,
    }  # fmt: skip
    program = await Program.start("-m", "device", *arguments(device, tmp_path, **changes))
    try:
        assert (await program.line())["event"] == "ready"
        ends_s = time.monotonic() + seconds
        while time.monotonic() < ends_s:
            server = FrameServer(answer, Listen(port=port), Identity("edge", lambda: [digest]))
            await server.start()
            await asyncio.sleep(period_s)  # the length of ups and downs is part of the claim
            pid = program.process.pid
            seen.append((resident_kib(pid), descriptors(pid), threads(pid)))
            await server.stop()
            await asyncio.sleep(period_s)
        program.process.terminate()
        code, out, errors = await program.end()
    finally:
        await program.kill()
    assert code == 0, errors
    assert "Task was destroyed" not in errors
    assert "never awaited" not in errors
    done = json.loads(out)
    assert done["lost"] == 0
    assert_each_ended_once(device.lines(), done["frames"])
    return seen


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 500)
async def test_minutes_of_a_moody_link_leave_memory_and_descriptors_alone(device, tmp_path, reserved_port):
    seen = await soak(device, tmp_path, reserved_port, SECONDS)
    after = seen[int(WARM_UP * len(seen)) :]
    third = max(1, len(after) // 3)
    first, last = after[:third], after[-third:]
    assert statistics.median(one[0] for one in last) - statistics.median(one[0] for one in first) <= 1024, seen
    for column in (1, 2):
        assert max(one[column] for one in last) <= max(one[column] for one in first) + 1, seen
