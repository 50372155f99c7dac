"""How long an urgent frame takes behind a long one on a thin link, in chunks and whole; part of `bench wire`."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figure import Figure
from benchmarks.wire_ends import DIGEST
from protocol.messages import Frame, Hello
from protocol.session import tag_of
from testbed import toml
from testbed.processes import Children
from transport.client import FrameClient
from transport.events import Answered, ClientEvent
from transport.settings import Dial

LINK = {"kind": "rate", "rate_bps": 1e6, "delay_s": 0.01}
LONG_BYTES, URGENT_BYTES = 256 << 10, 2 << 10
HEAD_START_S = 0.05
"""From the long frame to the urgent one, so that it is under way."""
RUNS = 5
WHOLE, CHUNKS = 1, 2
"""Versions of the protocol."""


def figures(port: int) -> Sequence[Figure]:
    """Against the frame server at this port, whose answers carry the payloads back."""
    with tempfile.TemporaryDirectory() as folder, Children(Path(folder)) as children:
        config = Path(folder) / "link.toml"
        forward = {"name": "tier", "target": f"127.0.0.1:{port}"}
        wide = {"kind": "unlimited", "delay_s": 0.01}  # downwards: only the way up is in question
        config.write_text(toml.dumps({"uplink": LINK, "downlink": wide, "forward": [forward]}))
        link = children.start("link", [sys.executable, "-m", "testbed.link", str(config)])
        link.tell("start")
        target = f"127.0.0.1:{link.ready['ports']['tier']}"
        runs = [(asyncio.run(_urgent_s(target, CHUNKS)), asyncio.run(_urgent_s(target, WHOLE))) for _ in range(RUNS)]
    name = f"{URGENT_BYTES >> 10} KiB behind {LONG_BYTES >> 10} KiB at 1 Mbit/s"
    return [
        Figure.of_runs(name, [chunks / whole for chunks, whole in runs], "times", 0.2, "below", "not in chunks"),
        Figure.of_runs(f"{name} takes", [chunks for chunks, _ in runs], "s"),
    ]


async def _urgent_s(target: str, version: int) -> float:
    """From sending the urgent frame to its answer."""
    answers: asyncio.Queue[int] = asyncio.Queue()

    def learn(event: ClientEvent) -> None:
        if isinstance(event, Answered):
            answers.put_nowait(event.result.id)

    def frame(number: int, size: int, remaining_us: int) -> Frame:
        return Frame.build(
            id=number, bundle=tag_of(DIGEST), cut=1, level=0, shape=(size,), payload=bytes(size),
            remaining_us=remaining_us,
        )  # fmt: skip

    async with FrameClient(Dial(target=target), Hello("bench", (DIGEST,), version), learn) as client:
        async with asyncio.timeout(60):
            await client.until_ready()
            client.send(frame(1, LONG_BYTES, 30_000_000))
            await asyncio.sleep(HEAD_START_S)
            began = time.perf_counter()
            client.send(frame(2, URGENT_BYTES, 10_000_000))
            while await answers.get() != 2:
                pass
            return time.perf_counter() - began
