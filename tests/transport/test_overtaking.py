"""An urgent frame behind a long one, through a real link of 1 Mbit/s."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from protocol.messages import Hello
from testbed import toml
from testbed.processes import Children
from tests.transport.callers import DIGEST, echo, frame, serving
from transport.client import FrameClient
from transport.events import Answered, ClientEvent
from transport.settings import Dial


@pytest.mark.parametrize(
    ("version", "order"),
    [pytest.param(2, [2, 1], id="in chunks"), pytest.param(1, [1, 2], id="whole", marks=pytest.mark.long)],
)
async def test_an_urgent_frame_overtakes_a_long_one_in_chunks(tmp_path: Path, version: int, order: list[int]) -> None:
    answered: asyncio.Queue[int] = asyncio.Queue()

    def learn(event: ClientEvent) -> None:
        if isinstance(event, Answered):
            answered.put_nowait(event.result.id)

    async with serving(echo) as server:
        direction = {"kind": "rate", "rate_bps": 1e6, "delay_s": 0.01}
        forward = {"name": "tier", "target": f"127.0.0.1:{server.port}"}
        config = tmp_path / "link.toml"
        config.write_text(toml.dumps({"uplink": direction, "downlink": direction, "forward": [forward]}))
        with Children(tmp_path) as children:
            link = children.start("link", [sys.executable, "-m", "testbed.link", str(config)])
            link.tell("start")
            dial = Dial(target=f"127.0.0.1:{link.ready['ports']['tier']}")
            async with FrameClient(dial, Hello("tester", (DIGEST,), version), learn) as client, asyncio.timeout(60):
                await client.until_ready()
                client.send(frame(1, bytes(64 << 10), remaining_us=40_000_000))
                await asyncio.sleep(0)
                while client._uplink._heap and not client._uplink._begun:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
                client.send(frame(2, bytes(2 << 10), remaining_us=10_000_000))
                assert [await answered.get() for _ in order] == order
