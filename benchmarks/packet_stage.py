"""The link of packets against its own setting, measured inside its namespaces with UDP; part of `bench datagrams`."""

from __future__ import annotations

import json
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.figure import Figure
from testbed import toml
from testbed.packets.namespaces import FAR_ADDRESS, inside
from testbed.processes import Child, Children

PORT: Final = 5001
RUNS: Final = 3
RATE_BPS: Final = 4e6
DELAY_S: Final = 0.04
LOSS: Final = 0.1
_IP_UDP_BYTES: Final = 28


def figures() -> Sequence[Figure]:
    """How far rate, delay and loss are from their setting."""
    rate = [{"kind": "rate", "rate_bps": RATE_BPS, "queue_bytes": 1 << 22}]
    rates = [abs(_measured(rate, "rate")["bps"] / RATE_BPS - 1) * 100 for _ in range(RUNS)]
    delays = [
        abs(_measured([{"kind": "delay", "delay_s": DELAY_S}], "delay")["median_s"] - DELAY_S) * 1000
        for _ in range(RUNS)
    ]
    losses = [
        abs(_measured([{"kind": "loss", "share": LOSS}], "loss", seed)["lost"] - LOSS) * 100 for seed in range(RUNS)
    ]
    return [
        Figure.of_runs("link of packets: rate off by", rates, "%", 3.0, "at most", "4 Mbit/s"),
        Figure.of_runs("link of packets: delay off by", delays, "ms", 2.0, "at most", "40 ms, median"),
        Figure.of_runs("link of packets: loss off by", losses, "points", 0.5, "at most", "10 % of 20,000 packets"),
    ]


def _measured(uplink: list[dict[str, object]], what: str, seed: int = 0) -> dict[str, Any]:
    """What a receiver on the far side finds."""
    with tempfile.TemporaryDirectory() as name, Children(Path(name)) as children:
        config = Path(name) / "link.toml"
        config.write_text(toml.dumps({"uplink": uplink, "seed": seed}))
        link = children.start("link", [sys.executable, "-m", "testbed.packets", str(config)])
        program = [sys.executable, "-m", "benchmarks.packet_stage", what]
        far = children.start("far", inside(link.ready["far"], [*program, "far"]))
        near: Child = children.start("near", inside(link.ready["near"], [*program, "near"]), ready=None)
        found = far.event("found", 120)
        near.kill()
        return found


def _send(what: str) -> None:
    """Numbered packets; the monotonic clock is the same on both sides."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.connect((FAR_ADDRESS, PORT))
        count, size, pause_s = {"rate": (700, 1000, 0.0005), "delay": (200, 100, 0.01), "loss": (20_000, 100, 0.0002)}[
            what
        ]
        for number in range(1, count + 1):
            door.send(json.dumps([number, time.monotonic()]).encode().ljust(size))
            time.sleep(pause_s)
        while True:  # until somebody has heard that this was all
            door.send(json.dumps([-count, time.monotonic()]).encode().ljust(size))
            time.sleep(0.1)


def _receive() -> None:
    arrivals: list[tuple[float, float, int]] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        door.bind((FAR_ADDRESS, PORT))
        print(json.dumps({"event": "ready"}), flush=True)
        while True:
            data = door.recv(2000)
            number, sent_s = json.loads(data)
            if number < 0:
                break
            arrivals.append((time.monotonic(), sent_s, len(data) + _IP_UDP_BYTES))
    seconds = arrivals[-1][0] - arrivals[0][0]
    found = {
        "bps": 8 * sum(size for _, _, size in arrivals[1:]) / seconds,
        "median_s": statistics.median(came_s - sent_s for came_s, sent_s, _ in arrivals),
        "lost": 1 - len(arrivals) / -number,
    }
    print(json.dumps({"event": "found", **found}), flush=True)


if __name__ == "__main__":
    if sys.argv[2] == "near":
        _send(sys.argv[1])
    else:
        _receive()
