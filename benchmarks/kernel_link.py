"""Completion times of the same transfers on our links and on the kernel's own shaper: a veth pair with tbf; needs root.

From the same transfers comes how far our links' rates are from their setting. tbf counts Ethernet frames; headers are
taken off (`stab`), so that all three count the bytes of the stream. Each transfer is long against the bucket of the
kernel, which gives its content away at the start.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.figure import Figure
from testbed.backends.netns import namespaces, why_not
from testbed.packets.namespaces import PREFIX, clean, inside
from testbed.processes import HERE, Children, started
from testbed.programs import start_link
from testbed.scenarios.material import Material
from testbed.scenarios.scenario import Scenario

RATES_BPS = (0.1e6, 1e6, 10e6, 50e6, 100e6)
SECONDS = 1.5
BUCKET_BYTES, HEADER_BYTES = 3028, 66
RUNS = 3
LIMIT, RATE_LIMIT = 0.05, 0.03

SERVE = (
    "import socket, sys; s = socket.create_server((sys.argv[1], 0)); print(s.getsockname()[1], flush=True)\n"
    "while True:\n"
    "    c, _ = s.accept()\n"
    "    while c.recv(65536): pass\n"
    "    c.sendall(b'!'); c.close()\n"
)
SEND = (
    "import socket, sys, time; host, port, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])\n"
    "c = socket.create_connection((host, port)); began_s = time.monotonic()\n"
    "c.sendall(bytes(size)); c.shutdown(socket.SHUT_WR); c.recv(1); print(time.monotonic() - began_s)\n"
)

End = tuple[Sequence[str], str, int]
"""How to run Python where the sender is, and where it connects to."""


def figures() -> Sequence[Figure]:
    """Nothing where there are no namespaces: this is not run then, and not passed."""
    if why_not():
        return []
    found = []
    for rate_bps in RATES_BPS:
        size = int(max(SECONDS * rate_bps / 8, 60 * BUCKET_BYTES))
        with _kernel(rate_bps) as kernel, _process(rate_bps) as process, _packets(rate_bps) as packets:
            times = [[_seconds(end, size) for end in (kernel, process, packets)] for _ in range(RUNS)]
        against = f"tbf: {statistics.median(one[0] for one in times):.3f} s for {size / 1e3:.0f} kB"
        for place, name in ((1, "emulator of streams"), (2, "link of packets")):
            off = [abs(one[place] / one[0] - 1) for one in times]
            told = f"{rate_bps / 1e6:g} Mbit/s, {name}: completion off by"
            found.append(Figure.of_runs(told, off, "share", LIMIT, "at most", against))
            rates = [abs(size * 8 / one[place] / rate_bps - 1) for one in times]
            told = f"{rate_bps / 1e6:g} Mbit/s, {name}: rate off by"
            found.append(Figure.of_runs(told, rates, "share", RATE_LIMIT, "at most", "setting"))
    return found


def _seconds(end: End, size: int) -> float:
    python, host, port = end
    done = subprocess.run([*python, "-c", SEND, host, str(port), str(size)], capture_output=True, text=True, check=True)
    return float(done.stdout)


@contextmanager
def _serving(python: Sequence[str], host: str) -> Iterator[int]:
    with subprocess.Popen([*python, "-c", SERVE, host], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.terminate()


@contextmanager
def _process(rate_bps: float) -> Iterator[End]:
    direction = _scenario(rate_bps).played().links["it"].uplink
    with (
        tempfile.TemporaryDirectory() as folder,
        _serving(HERE.python, "127.0.0.1") as port,
        Children(Path(folder)) as children,
    ):
        link = start_link(children, "link", Path(folder), direction, direction, {"edge": f"127.0.0.1:{port}"})
        link.tell("start")
        yield HERE.python, "127.0.0.1", link.ready["ports"]["edge"]


@contextmanager
def _packets(rate_bps: float) -> Iterator[End]:
    scenario = _scenario(rate_bps)
    nothing = Material(Path(), Path(), {})
    with (
        tempfile.TemporaryDirectory() as folder,
        namespaces(scenario, scenario.played(), nothing, Path(folder)) as network,
        _serving(network.far().python, network.host("it")) as port,
    ):
        network.start(0.0)
        yield network.near("it").python, network.host("it"), port


def _scenario(rate_bps: float) -> Scenario:
    return Scenario.model_validate(
        {
            "about": "One rate.", "seconds": 60, "edge": {}, "device": {"one": {"link": "it", "slowdown": 1}},
            "link": {"it": {"uplink": {"kind": "rate", "rate_bps": rate_bps, "queue_bytes": 1 << 18}}},
        }
    )  # fmt: skip


@contextmanager
def _kernel(rate_bps: float) -> Iterator[End]:
    clean()
    own = f"{PREFIX}-{os.getpid()}-{started(os.getpid())}-9"
    near, far = f"{own}-near", f"{own}-far"
    with ExitStack() as undo:
        for name in (near, far):
            _run("ip", "netns", "add", name)
            undo.callback(_run, "ip", "netns", "delete", name)
        _run("ip", "-n", near, "link", "add", "v0", "type", "veth", "peer", "name", "v0", "netns", far)
        for name, address in ((near, "10.77.9.1"), (far, "10.77.9.2")):
            _run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "v0")
            # One packet at a time: of several that travel as one, tbf would count the headers all the same.
            _run("ip", "-n", name, "link", "set", "dev", "v0", "gso_max_segs", "1", "up")
            _run(*inside(name, ["tc", "qdisc", "add", "dev", "v0", "root", "stab", "overhead", f"-{HEADER_BYTES}",
                 "tbf", "rate", f"{rate_bps:.0f}bit", "burst", str(max(BUCKET_BYTES, int(rate_bps / 8000))),
                 "limit", str(1 << 18)]))  # fmt: skip
            _run(*inside(name, [sys.executable, "-c", _RENO]))
        port = undo.enter_context(_serving(inside(far, HERE.python), "10.77.9.2"))
        yield inside(near, HERE.python), "10.77.9.2", port


# As on our links, nothing else paces.
_RENO = "open('/proc/sys/net/ipv4/tcp_congestion_control', 'w').write('reno')"


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
