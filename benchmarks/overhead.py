"""What the agent itself adds to a frame: from capture to its end, less the time in engine and codec.

`python -m benchmarks.overhead FOLDER` is the agent, in a process of its own, on frames as a camera gives them.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from device.program import run
from device.settings import load
from device.sources.live import Live
from device.sources.source import Clock, Item
from isthmus.builtin.demo import BUNDLE
from runtime.bundle import Bundle

RATE_HZ = 20.0
FRAMES, LEFT_OUT = 320, 20


def overhead_s(quantile: float) -> float:
    """Of a frame that is answered here, one at a time."""
    with tempfile.TemporaryDirectory() as name:
        history = Path(name) / "history.jsonl"
        subprocess.run([sys.executable, "-m", __name__, str(history)], check=True, stdout=subprocess.DEVNULL)
        lines = [json.loads(line) for line in history.read_text().splitlines()][LEFT_OUT:]
    return float(np.quantile([line["latency_s"] - line["device_s"] for line in lines], quantile))


def main(history: str) -> None:
    """Run the agent."""
    with Bundle.open(BUNDLE) as bundle:
        segments, shape = len(bundle.manifest.segments), bundle.manifest.input.shape
    settings = load(
        None,
        {
            "bundle": str(BUNDLE), "measure_s": 0.5, "deadline_s": 5.0, "source.path": ".", "source.keep": "all",
            "history.path": history, "policy.name": "fixed", "policy.route": "device", "policy.cut": segments,
        },
    )  # fmt: skip

    def camera(clock: Clock) -> Live:
        return Live(lambda: _pictures(shape), rate_hz=RATE_HZ, clock=clock)

    asyncio.run(run(settings, source=camera))


def _pictures(shape: tuple[int, ...]) -> Iterator[Item]:
    rng = np.random.default_rng(0)
    for number in range(FRAMES):
        time.sleep(1 / RATE_HZ)
        yield f"{number}", rng.integers(0, 256, shape, dtype=np.uint8)


if __name__ == "__main__":
    main(*sys.argv[1:])
