"""Many devices that come to one tier at the same moment, each by a connection of its own; part of `bench connections`.

The tier is the real program with the built-in model. Each device greets it, is welcomed and gets one frame answered.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.figure import Figure
from protocol.errors import Code
from protocol.messages import Frame, Hello, Refusal, Result
from runtime.bundle import Bundle
from runtime.codecs import Codecs
from runtime.engines.onnxruntime import OnnxRuntimeEngine
from runtime.stage import Stage
from serving.errors import UpstreamUnreachable
from serving.upstream import Upstream
from testbed.processes import Children
from testbed.programs import start_program
from transport.settings import Dial

BUNDLE = Path(__file__).resolve().parent.parent / "isthmus" / "builtin" / "digits.bundle"
DEVICES = 2000
PATIENCE_S = 240.0
CUT, LEVEL = 3, 0


def figures() -> Sequence[Figure]:
    """Until the last device has its answer; and what the tier has grown by then."""
    with tempfile.TemporaryDirectory() as folder, Children(Path(folder)) as children:
        table = {"bundles": [str(BUNDLE)], "listen": {"port": 0}}
        cloud = start_program(children, "cloud", Path(folder), table)
        before = _resident(cloud.pid)
        logging.getLogger("transport.client").setLevel(logging.ERROR)  # that some must come again is no news here
        took_s = asyncio.run(_storm(f"127.0.0.1:{cloud.ready['port']}"))
        grown = (_resident(cloud.pid) - before) / 2**20
    return [
        Figure(f"{DEVICES} devices at once: until all are answered", took_s, "s", 30.0, "at most", "clients included"),
        Figure(f"{DEVICES} devices at once: the tier's memory", grown, "MiB", 256.0, "at most", "the model alone"),
    ]


async def _storm(target: str) -> float:
    with Bundle.open(BUNDLE) as bundle:
        frame = blank_frame(bundle)
        devices = [Upstream(Dial(target=target), Hello(f"device-{n}", (bundle.digest,))) for n in range(DEVICES)]
        began_s = time.perf_counter()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.gather(*(answered(device, frame) for device in devices))
            return time.perf_counter() - began_s
        finally:
            await asyncio.gather(*(device.close() for device in devices))


def blank_frame(bundle: Bundle) -> Frame:
    """A frame of the built-in bundle that shows nothing."""
    engine, spec = OnnxRuntimeEngine(), bundle.manifest.cuts[CUT].tensor
    blank = np.zeros((1, *bundle.manifest.input.shape), np.uint8)
    activation = Stage(bundle, engine).run(blank, 0, CUT)[0]
    return Frame.build(
        id=1, bundle=bundle.tag, cut=CUT, level=LEVEL, shape=spec.shape,
        payload=Codecs(bundle, engine).at(CUT, LEVEL).encode(activation), remaining_us=round(1e6 * PATIENCE_S),
    )  # fmt: skip


async def answered(device: Upstream, frame: Frame) -> None:
    """Connect, and ask until there is an answer: a tier in a storm may tell a device to come again."""
    device.start()
    while True:
        await device.until_ready()
        try:
            answer = await device.ask(frame)
        except UpstreamUnreachable:
            await asyncio.sleep(0.05)
            continue
        if isinstance(answer, Result):
            return
        if answer.code not in (Code.OVERLOADED, Code.EXPIRED):
            raise RuntimeError(f"the tier refused a device's frame: {answer.detail}")
        await _wait(answer)


async def _wait(refusal: Refusal) -> None:
    await asyncio.sleep(max(0.05, 1e-6 * refusal.retry_after_us))


def _resident(pid: int) -> int:
    """Bytes of a process in memory."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return 1024 * int(line.split()[1])
