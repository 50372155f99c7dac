"""The link of packets with real sockets in real namespaces."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from testbed.errors import TestbedError
from testbed.packets.conditions import Loss
from testbed.packets.namespaces import FAR_ADDRESS, NEAR_ADDRESS, clean, inside
from testbed.packets.packet import Packet
from testbed.packets.path import PacketPath
from testbed.processes import Child, Children
from tests.testbed.packets.inside import needs_root, packet_link, socket_in

pytestmark = needs_root

PORT = 5000
LAST = b"last"


def _datagrams(link: Child) -> tuple[socket.socket, socket.socket]:
    """From the near side to the far one."""
    near, far = (socket_in(link.ready[side], socket.SOCK_DGRAM) for side in ("near", "far"))
    far.bind((FAR_ADDRESS, PORT))
    far.settimeout(10)
    near.connect((FAR_ADDRESS, PORT))
    return near, far


def _sent_through(near: socket.socket, far: socket.socket, count: int) -> list[int]:
    """Numbers that arrive of those sent; afterwards something is sent until it arrives, to know that all is through."""
    for number in range(count):
        near.send(number.to_bytes(4, "big"))
    far.settimeout(0.05)
    arrived = []
    while True:
        near.send(LAST)
        try:
            while (data := far.recv(100)) != LAST:
                arrived.append(int.from_bytes(data, "big"))
            return arrived
        except TimeoutError:
            continue


def test_exactly_the_packets_that_the_seed_says_are_lost(tmp_path: Path) -> None:
    seed, loss = 5, {"kind": "loss", "share": 0.3}
    path = PacketPath([Loss.model_validate(loss)], f"{seed}/up")
    for number in range(200):
        path.enter(Packet(number.to_bytes(4, "big"), 0.0))
    expected = [int.from_bytes(packet.data, "big") for packet in path.arrived(0.0)]
    with packet_link(tmp_path, uplink=[loss], seed=seed) as link:
        near, far = _datagrams(link)
        with near, far:
            assert _sent_through(near, far, 200) == expected


def test_packets_take_at_least_the_delay_of_their_direction_and_are_no_faster_than_its_rate(tmp_path: Path) -> None:
    thin = [{"kind": "rate", "rate_bps": 4e6, "queue_bytes": 1 << 20}, {"kind": "delay", "delay_s": 0.08}]
    with packet_link(tmp_path, uplink=thin, downlink=[]) as link:
        near, far = _datagrams(link)
        with near, far:
            began_s = time.monotonic()
            for _ in range(50):
                near.send(bytes(1000))
            for _ in range(50):
                data, back = far.recvfrom(2000)
                assert len(data) == 1000
            assert time.monotonic() - began_s >= 50 * 1028 * 8 / 4e6 + 0.08
            far.sendto(b"back", back)
            assert near.recv(100) == b"back"


def test_what_came_and_what_arrived_is_counted_in_packets_and_bytes(tmp_path: Path) -> None:
    with packet_link(tmp_path, uplink=[{"kind": "loss", "share": 1.0}]) as link:
        near, far = _datagrams(link)
        with near, far:
            near.send(bytes(72))
            near.send(bytes(172))
            link.tell("counts")
            counts = link.event("counts", 10)
            while counts["up"]["entered"] < 2:
                link.tell("counts")
                counts = link.event("counts", 10)
        assert counts["up"] == {"entered": 2, "entered_bytes": 300, "arrived": 0, "arrived_bytes": 0}
        assert counts["down"]["entered"] == 0


@pytest.mark.slow
def test_tcp_brings_every_byte_over_a_link_that_loses_damages_and_disorders(tmp_path: Path) -> None:
    bad = [
        {"kind": "loss", "share": 0.05},
        {"kind": "corrupt", "share": 0.05},
        {"kind": "duplicate", "share": 0.1},
        {"kind": "reorder", "share": 0.1, "by_s": 0.002},
    ]
    content = os.urandom(40_000)
    with packet_link(tmp_path, uplink=bad, downlink=bad) as link:
        door = socket_in(link.ready["far"], socket.SOCK_STREAM)
        near = socket_in(link.ready["near"], socket.SOCK_STREAM)
        with door, near:
            door.bind((FAR_ADDRESS, 0))
            door.listen()
            near.settimeout(60)
            near.connect(door.getsockname())
            with door.accept()[0] as far:
                far.settimeout(60)
                near.sendall(content)
                near.shutdown(socket.SHUT_WR)
                found = b"".join(iter(lambda: far.recv(65536), b""))
    assert found == content


def test_clean_removes_what_a_killed_link_has_left_and_nothing_else(tmp_path: Path) -> None:
    with packet_link(tmp_path) as living, Children(tmp_path / "killed") as children:
        config = tmp_path / "packets.toml"
        killed = children.start("killed", [sys.executable, "-m", "testbed.packets", str(config)])
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait(10)
        clean()
        assert not {killed.ready["near"], killed.ready["far"]} & _namespaces()
        assert {living.ready["near"], living.ready["far"]} <= _namespaces()


def test_programs_inside_see_each_other_only_and_nothing_is_left_afterwards(tmp_path: Path) -> None:
    show = "import socket; print(sorted(name for _, name in socket.if_nameindex()))"
    with packet_link(tmp_path) as link:
        command = inside(link.ready["near"], [sys.executable, "-c", show])
        seen = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert seen.strip() == "['link0', 'lo']"
        assert (link.ready["near_address"], link.ready["far_address"]) == (NEAR_ADDRESS, FAR_ADDRESS)
        assert {link.ready["near"], link.ready["far"]} <= _namespaces()
    assert not {link.ready["near"], link.ready["far"]} & _namespaces()


def test_a_setting_that_cannot_be_is_told_with_its_key(tmp_path: Path) -> None:
    with pytest.raises(TestbedError, match="share"), packet_link(tmp_path, uplink=[{"kind": "loss", "share": 2}]):
        pass


def _namespaces() -> set[str]:
    return set(os.listdir("/run/netns"))
