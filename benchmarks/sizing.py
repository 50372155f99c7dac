"""What a machine must have for so many devices: memory and processor time of a tier and of the control plane.

Processor time is what the process itself used, so it means the same on a busy machine; latency under load is in
`bench batching`, the device's own needs in `bench footprint`.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.dashboard import register_all, report_all
from benchmarks.figure import Figure
from benchmarks.storm import BUNDLE, answered, blank_frame
from protocol.messages import Frame, Hello
from runtime.bundle import Bundle
from serving.upstream import Upstream
from testbed.processes import Child, Children
from testbed.programs import start_program
from transport.settings import Dial

STREAMS = 500
AT_ONCE = 20
"""Of them, while they come."""
BUSY = 16
FRAMES = 200
"""Of each busy stream."""
DEVICES = 2000
ROUNDS = 3
"""Reports of each device."""
REPORT_S = 10.0
"""A device's usual pace."""
MIB = 1 << 20


def figures() -> Sequence[Figure]:
    """A tier with the built-in bundle, and a control plane with SQLite."""
    with tempfile.TemporaryDirectory(prefix="isthmus-") as folder, Children(Path(folder)) as children:
        return [*_of_a_tier(children, Path(folder)), *_of_a_control_plane(children, Path(folder))]


def _of_a_tier(children: Children, folder: Path) -> list[Figure]:
    cloud = start_program(children, "cloud", folder, {"bundles": [str(BUNDLE)], "listen": {"port": 0}})
    alone = _resident(cloud)
    with_streams, seconds = asyncio.run(_loaded(cloud))
    per_frame_ms = 1e3 * seconds / (BUSY * FRAMES)
    return [
        Figure("tier: memory with the built-in bundle", alone / MIB, "MiB"),
        Figure(
            "tier: memory of a connected device", (with_streams - alone) / STREAMS / 1024, "KiB", against=f"{STREAMS}"
        ),
        Figure("tier: processor time of a frame", per_frame_ms, "ms", against=f"{BUSY} devices at once, batched"),
        Figure("tier: frames a second on one core", 1e3 / per_frame_ms, "frames/s"),
    ]


async def _loaded(cloud: Child) -> tuple[int, float]:
    """Bytes in memory with all streams open, and processor seconds of the frames of the busy ones."""
    with Bundle.open(BUNDLE) as bundle:
        frame, target = blank_frame(bundle), f"127.0.0.1:{cloud.ready['port']}"
        devices = [Upstream(Dial(target=target), Hello(f"device-{n}", (bundle.digest,))) for n in range(STREAMS)]
        try:
            for first in range(0, STREAMS, AT_ONCE):
                await asyncio.gather(*(answered(device, frame) for device in devices[first : first + AT_ONCE]))
            resident, before_s = _resident(cloud), _processor_s(cloud)
            await asyncio.gather(*(_one_after_the_other(device, frame) for device in devices[:BUSY]))
            return resident, _processor_s(cloud) - before_s
        finally:
            await asyncio.gather(*(device.close() for device in devices))


async def _one_after_the_other(device: Upstream, frame: Frame) -> None:
    for _ in range(FRAMES):
        await device.ask(frame)


def _of_a_control_plane(children: Children, folder: Path) -> list[Figure]:
    state = folder / "state"
    control = start_program(children, "cloud.control", folder, {"folder": str(state), "listen": {"port": 0}})
    url = f"http://127.0.0.1:{control.ready['port']}"
    register_all(url)
    report_all(url)
    before_s = _processor_s(control)
    for _ in range(ROUNDS):
        report_all(url)
    time.sleep(1.0)  # what came is written within half a second
    share = (_processor_s(control) - before_s) / (ROUNDS * REPORT_S)
    size = sum(path.stat().st_size for path in state.glob("control.db*"))
    told = f"{DEVICES} devices"
    return [
        Figure("control plane: memory", _resident(control) / MIB, "MiB", against=told),
        Figure(
            "control plane: reports of all devices", 100 * share, "% of a core", against=f"{told}, every {REPORT_S:g} s"
        ),
        Figure("control plane: database", size / DEVICES / 1024, "KiB for each device", against=told),
    ]


def _resident(program: Child) -> int:
    """Bytes of a process in memory."""
    lines = Path(f"/proc/{program.pid}/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


def _processor_s(program: Child) -> float:
    """What a process has used so far; see proc_pid_stat(5)."""
    fields = Path(f"/proc/{program.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
