"""The backend of network namespaces: every packet's time, loopback addresses that cross a link, nothing left."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import SettingsError
from testbed.backends.backend import require_playable
from testbed.backends.named import backend_named
from testbed.backends.netns import namespaces, why_not
from testbed.backends.process import ProcessBackend
from testbed.backends.radio import Radio, stream_bytes
from testbed.errors import ScenarioError
from testbed.link.settings import DirectionSettings
from testbed.packets.packet import Packet
from testbed.packets.path import PacketPath
from testbed.results.figures import ALL
from testbed.running import clean_machine, run_scenario
from testbed.scenarios.material import Material, Supplier
from testbed.scenarios.scenario import Scenario
from tests.testbed.test_scenario_run import REAL, _scenario, suppliers

__all__ = ["suppliers"]

WAIT_S = 60.0
NOTHING = Material(Path(), Path(), {})
needs_root = pytest.mark.skipif(bool(why_not()), reason=f"cannot play in namespaces: {why_not()}")

TWO_LINKS = """
about = "For tests."
seconds = 3
[device.one]
link = "lte"
slowdown = 1
[device.two]
link = "wlan"
slowdown = 1
[edge]
[link.lte]
uplink = { kind = "steps", steps = [[0.2, 1e6], [0.2, 0], [0.2, 3e6]], delay_s = 0.01 }
[link.wlan]
uplink = { kind = "rate", rate_bps = 8e6 }
downlink = { kind = "unlimited" }
"""


def packet(stream: int, *, kind: int = 6) -> bytes:
    """An IPv4 packet with 20 bytes of header, of TCP with 12 bytes of options."""
    total = 20 + 32 + stream
    header = bytes([0x45, 0]) + total.to_bytes(2, "big") + bytes(5) + bytes([kind]) + bytes(10)
    return header + bytes(12) + bytes([8 << 4]) + bytes(19) + bytes(stream)


def played(radio: Radio, arrivals: list[tuple[float, bytes]]) -> list[float]:
    """When packets come out of a direction, in milliseconds."""
    path = PacketPath(radio.conditions)
    for at_s, data in arrivals:
        path.enter(Packet(data, at_s))
    return [round(1e3 * out.at_s, 3) for out in path.arrived(1e9)]


def radio(started_s: float = 0.0, **direction: Any) -> Radio:
    made = Radio(direction=DirectionSettings(**direction))
    made.start(started_s)
    return made


def test_headers_and_bare_acknowledgements_take_no_room() -> None:
    assert stream_bytes(packet(0)) == 0
    assert stream_bytes(packet(700)) == 700
    assert stream_bytes(packet(700, kind=17)) == 752, "what is no stream counts whole"


def test_a_packet_takes_its_time_behind_those_before_it() -> None:
    link = radio(kind="rate", rate_bps=8e6, delay_s=0.01)  # a byte takes a microsecond
    assert played(link, [(0.0, packet(1000)), (0.0, packet(500)), (0.0, packet(0)), (0.1, packet(1000))]) == [
        11.0, 11.5, 11.5, 111.0,
    ]  # fmt: skip


def test_before_the_start_there_is_the_delay_alone() -> None:
    assert played(radio(5.0, kind="rate", rate_bps=8, delay_s=0.01), [(4.0, packet(1000))]) == [4010.0]


def test_a_dead_time_holds_packets_back_and_loses_none() -> None:
    link = radio(kind="steps", steps=((1.0, 8e6), (2.0, 0), (1.0, 8e6)))
    assert played(link, [(0.5, packet(1000)), (1.5, packet(1000)), (2.0, packet(1000))]) == [501.0, 3001.0, 3002.0]


def test_what_finds_the_queue_full_is_lost_and_room_comes_back() -> None:
    link = radio(kind="rate", rate_bps=8e6, queue_bytes=3000)
    at_once = [(0.0, packet(1400))] * 4
    assert played(link, [*at_once, (0.1, packet(1400))]) == [1.4, 2.8, 101.4]


def test_a_machine_that_cannot_says_why_and_does_not_pass(tmp_path: Path) -> None:
    backend = ProcessBackend("netns", namespaces, lambda: "network namespaces need root")
    with pytest.raises(ScenarioError, match="'netns' cannot play this scenario: network namespaces need root"):
        require_playable(backend, _scenario(tmp_path, TWO_LINKS))


LOSSY = (
    TWO_LINKS
    + """
[link.lte.packet.all-of-them]
kind = "loss"
share = 1.0
"""
)


@pytest.mark.parametrize("name", ["process", "docker", "simulated"])
def test_backends_of_streams_refuse_what_befalls_packets(tmp_path: Path, name: str) -> None:
    told = "link.lte.packet.all-of-them is about packets (netns has them)"
    assert any(told in reason for reason in backend_named(name).refusals(_scenario(tmp_path, LOSSY)))
    packets = [told for told in backend_named("netns").refusals(_scenario(tmp_path, LOSSY)) if "packet" in told]
    assert packets == []


def test_a_kind_of_packet_condition_that_is_misspelt_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="did you mean 'loss'"):
        _scenario(tmp_path, LOSSY.replace('kind = "loss"', 'kind = "los"'))


@needs_root
@pytest.mark.slow
def test_a_link_that_loses_everything_connects_nobody_and_the_other_does(tmp_path: Path) -> None:
    scenario = _scenario(tmp_path, LOSSY)
    with namespaces(scenario, scenario.played(), NOTHING, tmp_path) as network:
        lost, sound = (
            subprocess.run([*network.near(link).python, "-c", CALL, network.host(link)], capture_output=True, text=True)
            for link in ("lte", "wlan")
        )
    assert lost.stdout.strip() == "nobody"
    assert sound.stdout.strip() == "refused", "the other side has answered"


CALL = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 9), 2)
except TimeoutError:
    print("nobody")
except ConnectionRefusedError:
    print("refused")
"""


@needs_root
@pytest.mark.slow
def test_links_are_laid_apart_and_removed(tmp_path: Path) -> None:
    scenario: Scenario = _scenario(tmp_path, TWO_LINKS)
    drawn = scenario.played()
    with namespaces(scenario, drawn, NOTHING, tmp_path) as network:
        near, other, far = (place.python for place in (network.near("lte"), network.near("wlan"), network.far()))
        names = {near[3], other[3], far[3]}
        assert len(names) == 3
        left = network.left("lte", drawn.links["lte"])
        assert (left.uplink.kind, left.uplink.delay_s, left.conditions) == ("unlimited", 0.0, ())
        assert network.host("lte") != network.host("wlan")
        network.start(time.monotonic())
        assert echoed(network.host("lte"), near, far) == "isthmus"
        assert echoed(network.host("wlan"), other, far) == "isthmus"
        with pytest.raises(subprocess.CalledProcessError):  # a link leads to its own address alone
            echoed(network.host("lte"), other, far)
    assert not names & namespaces_here()


def namespaces_here() -> set[str]:
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    return {line.split()[0] for line in listed.splitlines()}


def echoed(host: str, near: Sequence[str], far: Sequence[str]) -> str:
    """What comes back from a program on the far side, through the link."""
    serve = (
        f"import socket; s = socket.create_server(({host!r}, 0)); print(s.getsockname()[1], flush=True); "
        "c, _ = s.accept(); c.sendall(c.recv(100))"
    )
    with subprocess.Popen([*far, "-c", serve], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        ask = (
            f"import socket; c = socket.create_connection(({host!r}, {port}), {WAIT_S}); c.sendall(b'isthmus'); "
            "print(c.recv(100).decode())"
        )
        try:
            done = subprocess.run([*near, "-c", ask], capture_output=True, text=True, check=True)
        finally:
            server.terminate()
    return done.stdout.strip()


@needs_root
@pytest.mark.slow
def test_what_a_killed_run_leaves_is_removed(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(TWO_LINKS)
    lay = (
        "import sys, time; from pathlib import Path; from testbed.backends.netns import namespaces; "
        "from testbed.scenarios.scenario import read_scenario; "
        "scenario = read_scenario(Path(sys.argv[1])); "
        "network = namespaces(scenario, scenario.played(), None, Path(sys.argv[2])); "
        "print(network.__enter__().far().python[3], flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", lay, str(tmp_path / "own.toml"), str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        name = run.stdout.readline().strip()
        run.send_signal(signal.SIGKILL)
        run.communicate()
    clean_machine()  # another test at the same time may have been faster
    assert name.startswith("isthmus-")
    own = name.rsplit("-", 2)[0]
    assert not {one for one in namespaces_here() if one.startswith(own)}


@needs_root
@pytest.mark.slow
def test_real_programs_play_in_namespaces_with_faults_and_lose_no_frame(
    tmp_path: Path,
    suppliers: dict[str, Supplier],
) -> None:
    scenario = _scenario(tmp_path, REAL)
    run = run_scenario("own", scenario, backend_named("netns"), tmp_path / "run", suppliers)
    found = run.repetitions[0].figures
    assert run.holds
    assert found[ALL]["frames"] == found["camera-1"]["frames"] + found["camera-2"]["frames"]
    assert sum(row["up_bytes"] for row in run.repetitions[0].outcome.links["lte"]) > 0, "frames went over the link"
    assert json.loads((tmp_path / "run" / "run.json").read_text())["backend"] == "netns"


def test_a_port_of_a_link_may_be_on_another_address_of_this_machine() -> None:
    from testbed.link.sockets import listen

    with listen(0, "127.0.0.2") as listener:
        host, port = listener.getsockname()
        assert host == "127.0.0.2"
        with socket.create_connection((host, port)):
            pass
