"""The link emulator's delivered rate and added delay against its setting, measured with plain TCP."""

from __future__ import annotations

import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import packet_stage
from benchmarks.figure import Figure
from testbed import toml
from testbed.link.yardstick import delivered_bps, one_way_s
from testbed.packets.namespaces import why_not
from testbed.processes import Children

RATES_BPS = (0.1e6, 1e6, 10e6, 50e6, 100e6)
DELAY_S = 0.025
SIZE = 100
RUNS = 3


def figures() -> Sequence[Figure]:
    """Rate within 3 %, delay within 2 ms; and the same of the link of packets, with its loss, where it can be made."""
    found: list[Figure] = []
    for rate_bps in RATES_BPS:
        rates, delays = _deviations(rate_bps)
        name = f"{rate_bps / 1e6:g} Mbit/s"
        found.append(Figure.of_runs(f"{name}: rate off by", rates, "share", 0.03, "at most", "setting"))
        found.append(Figure.of_runs(f"{name}: delay off by", delays, "s", 0.002, "at most", "setting"))
    return [*found, *([] if why_not() else packet_stage.figures())]


def _deviations(rate_bps: float) -> tuple[list[float], list[float]]:
    direction = {"kind": "rate", "rate_bps": rate_bps, "delay_s": DELAY_S}
    expected_s = SIZE * 8 / rate_bps + DELAY_S
    rates, delays = [], []
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as server:
        config = Path(folder) / "link.toml"
        forward = {"name": "target", "target": f"127.0.0.1:{server.getsockname()[1]}"}
        config.write_text(toml.dumps({"uplink": direction, "downlink": direction, "forward": [forward]}))
        with Children(Path(folder)) as children:
            link = children.start("link", [sys.executable, "-m", "testbed.link", str(config)])
            link.tell("start")
            for _ in range(RUNS):
                with socket.create_connection(("127.0.0.1", link.ready["ports"]["target"])) as near:
                    far, _ = server.accept()
                    with far:
                        up, down = one_way_s(near, far, size=SIZE), one_way_s(far, near, size=SIZE)
                        delays.append(max(abs(up - expected_s), abs(down - expected_s)))
                        rates.append(abs(delivered_bps(near, far, 2.4 if rate_bps < 1e6 else 1.0) / rate_bps - 1))
    return rates, delays
