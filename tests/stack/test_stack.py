"""The stack, really brought up: images within their size, healthy, frames answered, containers killed, nothing lost.

Needs a container engine and some minutes; `make test-stack` installs what is missing and takes everything down again.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from cloud.control.client import Client
from compose import stack
from tests.stack.engine import DEVICES, PATIENCE_S, answers, containers, docker, history, needs_an_engine, token, until

ROOT = Path(__file__).parents[2]
pytestmark = [*needs_an_engine, pytest.mark.usefixtures("running")]
ROUNDS = int(os.environ.get("ISTHMUS_STACK_ROUNDS", "1"))
"""How often each container is killed."""


@pytest.mark.parametrize(("image", "most_mb"), [("isthmus-device:0.1.0", 400), ("isthmus-tier:0.1.0", 550)])
def test_an_image_is_within_its_size_and_holds_no_model(image: str, most_mb: int) -> None:
    assert int(docker("image", "inspect", "--format", "{{.Size}}", image)) <= most_mb * 1e6
    code = "import pathlib; print([str(p) for p in pathlib.Path('/').glob('opt/**/*.onnx')])"
    assert docker("run", "--rm", "--network=none", "--entrypoint=python3", image, "-c", code).strip() == "[]"


@pytest.mark.parametrize("image", ["isthmus-device:0.1.0", "isthmus-tier:0.1.0"])
def test_an_image_has_a_bill_of_materials_and_no_torch(image: str) -> None:
    text = docker("run", "--rm", "--network=none", "--entrypoint=cat", image, "/opt/isthmus/sbom.json")
    names = {component["name"] for component in json.loads(text)["components"]}
    assert {"isthmus", "onnxruntime", "grpcio"} <= names
    assert not {"torch", "compressai", "pip"} & names


@pytest.mark.parametrize("name", ["mosquitto", "control", "cloud", "edge", "camera-1", "camera-2"])
def test_the_engine_confines_it_as_the_file_says(name: str) -> None:
    found = json.loads(docker("inspect", containers()[name]))[0]
    host = found["HostConfig"]
    assert found["Config"]["User"] == "10001:10001"
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0
    status = docker("exec", containers()[name], "cat", "/proc/1/status")
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status


@pytest.mark.parametrize("device", DEVICES)
def test_frames_are_answered_by_a_tier_and_the_answers_are_right(device: str) -> None:
    until(lambda: sum(line["by"] in ("edge", "cloud") for line in answers(device)) >= 20, f"tiers answer {device}")
    found = answers(device)
    right = sum(line["name"] == Path(line["source"]).stem[-1] for line in found)
    assert right >= 0.9 * len(found)
    assert {line["device"] for line in found} == {device}


def test_one_device_reaches_the_edge_over_the_broker() -> None:
    def connected() -> bool:
        done = subprocess.run(["docker", "logs", containers()["camera-2"]], capture_output=True, text=True, check=True)
        return "tier edge at mosquitto:8883 is ready" in done.stdout + done.stderr

    until(connected, "camera-2 has a stream to the edge over the broker")


def test_both_devices_register_with_the_control_plane_and_report_their_frames(tmp_path: Path) -> None:
    ca, admin = tmp_path / "ca.pem", token()
    ca.write_text(docker("exec", containers()["control"], "cat", "/identity/ca.pem"))
    with closing(Client("https://localhost:7300", admin, ca)) as client:

        def reporting() -> set[str]:
            devices = client.get("/v1/devices")
            return {device["name"] for device in devices if device["seen_at"] is not None}

        until(lambda: reporting() >= set(DEVICES), "both devices are known to the control plane")


def published(sender: str, topic: str) -> str:
    """What the broker says to a message of `sender`, in a container with that device's identity alone."""
    image = docker("inspect", "--format", "{{.Config.Image}}", containers()["mosquitto"]).strip()
    volume = f"{stack.PROJECT}_{sender}-identity:/identity:ro"
    confined = ["--rm", "--user=10001:10001", f"--network={stack.PROJECT}_field", "--entrypoint=mosquitto_pub"]
    files = ["--cafile", "/identity/ca.pem", "--cert", "/identity/device.pem", "--key", "/identity/device.key"]
    message = ["-h", "mosquitto", "-p", "8883", "-V", "5", "-q", "1", "-t", topic, "-m", "none"]
    command = ["docker", "run", *confined, "-v", volume, image, *files, *message]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def test_at_the_broker_a_device_writes_in_its_own_name_only() -> None:
    assert "Not authorized" not in published("camera-1", "isthmus/v1/edge/notes/camera-1")
    assert "Not authorized" in published("camera-1", "isthmus/v1/edge/notes/camera-2")


def kill(name: str) -> None:
    """SIGKILL from outside the container, as a crash would be; returns when it has been started again."""
    found = json.loads(docker("inspect", containers()[name]))[0]
    os.kill(found["State"]["Pid"], signal.SIGKILL)

    def restarted() -> bool:
        return bool(json.loads(docker("inspect", containers()[name]))[0]["RestartCount"] > found["RestartCount"])

    until(restarted, f"{name} is started again")


@pytest.mark.parametrize("name", ["edge", "cloud", "control", "mosquitto", "camera-1"])
def test_killed_with_signal_9_it_is_healthy_again_and_nothing_acknowledged_is_lost(name: str) -> None:
    for _ in range(ROUNDS):
        until(partial(_has_run_a_while, name), f"{name} has run long enough not to be taken for a crash loop")
        before = {device: {line["key"] for line in answers(device)} for device in DEVICES}
        kill(name)
        took_s = stack.until_well(PATIENCE_S)
        print(f"{name}: all healthy {took_s:.1f} s after it was started again")
        for device, keys in before.items():
            until(partial(_more_than, device, len(keys)), f"{device} goes on")
            assert keys <= {line["key"] for line in answers(device)}


def _has_run_a_while(name: str) -> bool:
    """For more than ten seconds: before that the engine waits twice as long as the last time with each restart."""
    started = json.loads(docker("inspect", containers()[name]))[0]["State"]["StartedAt"]
    return datetime.now(UTC) - datetime.fromisoformat(started[:19] + "+00:00") > timedelta(seconds=12)


def _more_than(device: str, count: int) -> bool:
    return len(answers(device)) > count


def test_every_frame_of_a_device_has_ended_once() -> None:
    numbers = [line["frame"] for line in history("camera-2")]
    assert sorted(numbers) == sorted(set(numbers))
    assert set(range(1, max(numbers) - 20)) <= set(numbers)


def test_the_certificates_are_left_alone_by_a_second_start_and_renewed_on_request() -> None:
    assert "nothing to do" in stack.compose("run", "--rm", "certificates")
    assert "camera-1" in stack.compose("run", "--rm", "certificates", "--renew")
    for name in ("edge", "camera-1"):
        docker("restart", containers()[name])
    stack.until_well(PATIENCE_S)
    seen = len(answers("camera-1"))
    until(
        lambda: any(line["by"] in ("edge", "cloud") for line in answers("camera-1")[seen:]),
        "tiers answer with the new certificates",
    )
