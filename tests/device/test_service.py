"""The agent as a service: what systemd hears, what a reload changes, and what the schema promises."""

import asyncio
import json
import signal
import socket
import subprocess
import tomllib
from pathlib import Path

import pytest

import device.settings as device_settings
from device.notify import Notify
from tests.device.conftest import assert_each_ended_once
from tests.device.processes import ROOT, Program

SCHEMA = ROOT / "device" / "device.schema.json"
UNIT = ROOT / "device" / "isthmus-device.service"


class Systemd:
    """The listening end of sd_notify."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(30)

    def next(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self._socket.recv(4096).decode().splitlines())

    def until(self, key: str) -> dict[str, str]:
        while key not in (said := self.next()):
            assert set(said) <= {"WATCHDOG", "READY", "STATUS", "RELOADING", "MONOTONIC_USEC", "STOPPING"}
        return said

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd(tmp_path):
    listening = Systemd(tmp_path / "notify")
    yield listening
    listening.close()


def test_messages_are_those_of_sd_notify(systemd):
    notify = Notify.of({"NOTIFY_SOCKET": str(systemd.path)}, 1)
    notify.ready("up")
    assert systemd.next() == {"READY": "1", "STATUS": "up"}
    notify.reloading()
    said = systemd.next()
    assert (said["RELOADING"], said["MONOTONIC_USEC"].isdecimal()) == ("1", True)
    notify.stopping()
    assert systemd.next() == {"STOPPING": "1"}


async def test_the_watchdog_hears_of_a_living_agent_only(systemd):
    alive = iter([True, False, True])
    enough = asyncio.Event()

    def next_one() -> bool:
        said = next(alive, None)
        if said is None:
            enough.set()
        return bool(said)

    notify = Notify.of({"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": "30000", "WATCHDOG_PID": "7"}, 7)
    living = asyncio.create_task(notify.live(next_one))
    async with asyncio.timeout(30):
        await enough.wait()
    living.cancel()
    assert [systemd.next(), systemd.next()] == [{"WATCHDOG": "1"}] * 2
    systemd._socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        systemd.next()


async def test_nobody_listening_and_somebody_elses_watchdog_are_fine():
    Notify().ready("up")
    await Notify.of({"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}, 2).live(lambda: True)


async def test_a_service_is_ready_reloads_between_two_frames_and_stops(device, systemd, tmp_path, monkeypatch):
    """As systemd sees it: the process itself, its socket, and its signals."""
    config = tmp_path / "device.toml"

    def write(rate_hz: float, cut: int) -> None:
        config.write_text(
            f'bundle = "{device.bundle}"\nmeasure_s = 0.05\ndeadline_s = 30\n'
            f'[source]\npath = "{device.pictures}"\nrate_hz = {rate_hz}\n'
            f'keep = "all"\n[history]\npath = "{device.history}"\n'
            f'[policy]\nname = "fixed"\ncut = {cut}\nroute = "device"\n'
        )

    write(40.0, 3)
    monkeypatch.setenv("NOTIFY_SOCKET", str(systemd.path))
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    program = await Program.start("-m", "device", str(config))
    try:
        assert (await program.line())["event"] == "ready"
        assert "READY" in await asyncio.to_thread(systemd.until, "READY")
        await asyncio.to_thread(systemd.until, "WATCHDOG")
        await frames(device, 10)

        write(40.0, 1)
        program.process.send_signal(signal.SIGHUP)
        assert await program.line() == {"event": "reloaded", "taken": True}
        assert "MONOTONIC_USEC" in await asyncio.to_thread(systemd.until, "RELOADING")
        assert "in force" in (await asyncio.to_thread(systemd.until, "READY"))["STATUS"]
        await frames(device, 10, cut=1)

        config.write_text("bundle = 3\n")
        program.process.send_signal(signal.SIGHUP)
        assert await program.line() == {"event": "reloaded", "taken": False}
        assert "refused" in (await asyncio.to_thread(systemd.until, "READY"))["STATUS"]

        write(50.0, 3)
        (device.pictures / "9.png").write_bytes((device.pictures / "0.png").read_bytes())
        program.process.send_signal(signal.SIGHUP)
        assert await program.line() == {"event": "reloaded", "taken": True}
        await frames(device, 1, source="9.png")

        program.process.send_signal(signal.SIGTERM)
        code, out, errors = await program.end()
    finally:
        await program.kill()
    assert code == 0, errors
    await asyncio.to_thread(systemd.until, "STOPPING")
    done, lines = json.loads(out), device.lines()
    assert done["lost"] == 0
    assert_each_ended_once(lines, done["frames"])
    assert {line["ended"] for line in lines if line["reason"] != "agent stopped"} == {"answered"}
    assert sorted(line["frame"] for line in lines) == list(range(1, len(lines) + 1)), "and none was lost in between"


async def frames(device, more: int, **like: object) -> None:
    """Wait for so many more answers of a kind."""
    seen = len(device.lines())
    async with asyncio.timeout(60):
        while sum(all(line[key] == value for key, value in like.items()) for line in device.lines()[seen:]) < more:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def test_the_published_schema_is_that_of_the_settings():
    """Write it anew with: isthmus device --schema > device/device.schema.json"""
    assert json.loads(SCHEMA.read_text()) == device_settings.json_schema()


def test_the_schema_knows_every_key_and_refuses_others():
    schema = device_settings.json_schema()
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == set(device_settings.Settings.model_fields)
    assert set(schema["required"]) == {"bundle", "source"}


def test_the_unit_is_one_that_systemd_takes(tmp_path):
    text = UNIT.read_text()
    for line in ("Type=notify", "WatchdogSec=", "ProtectSystem=strict", "NoNewPrivileges=true", "User=isthmus"):
        assert line in text
    try:
        runnable = text.replace("/opt/isthmus/bin/isthmus", "/bin/true")
        (tmp_path / UNIT.name).write_text(runnable)
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(tmp_path / UNIT.name)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("no systemd here")
    assert done.returncode == 0, done.stderr
    assert UNIT.name not in done.stderr


def test_the_example_of_the_documentation_is_valid(tmp_path):
    page = (ROOT / "docs" / "device.md").read_text()
    for block in page.split("```toml\n")[1:]:
        text = block.partition("```")[0]
        tree = {"bundle": "b", "source": {"path": "p"}} | tomllib.loads(text)
        device_settings.Settings.model_validate(tree)
