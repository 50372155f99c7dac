"""The backend of containers: what it says where it cannot, and the real thing where an engine runs."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.backends import docker
from testbed.backends.backend import require_playable, why_unplayable
from testbed.backends.named import backend_named
from testbed.backends.process import ProcessBackend
from testbed.errors import ScenarioError
from testbed.processes import HERE
from testbed.results.figures import ALL
from testbed.running import clean_machine, run_scenario
from testbed.scenarios import library
from testbed.scenarios.material import Supplier
from tests.testbed.test_scenario_run import REAL, _scenario, suppliers

__all__ = ["suppliers"]

BROKER_RESTART = library.open_scenario("broker-restart")[1]


def no_engine() -> None:
    raise docker.ContainerError("no container engine answers (gone); start one: compose/prepare.sh")


def test_without_an_engine_it_plays_nothing_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "_engine", no_engine)
    backend = ProcessBackend("docker", docker.containers, docker.why_not)
    with pytest.raises(ScenarioError, match="'docker' cannot play this scenario: no container engine answers"):
        require_playable(backend, _scenario(tmp_path, REAL))
    assert docker.clean() == []


class Engine:
    """An engine with some images."""

    def __init__(self, *tags: str) -> None:
        self.tags = list(tags)
        self.images = self

    def list(self) -> list[Engine]:
        return [self]


def test_a_missing_image_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "_engine", lambda: Engine(docker.TIER))
    assert docker.why_not() == f"the image {docker.DEVICE} is not there; make it: compose/prepare.sh"
    monkeypatch.setattr(docker, "_engine", lambda: Engine(docker.TIER, docker.DEVICE))
    assert docker.why_not() == ""


def test_a_broker_runs_in_whichever_of_its_images_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "_engine", lambda: Engine(docker.TIER, docker.DEVICE))
    assert all(image in docker.no_broker() for image in docker.BROKERS)
    assert any("isthmus-broker" in reason for reason in why_unplayable(backend_named("docker"), BROKER_RESTART))
    for images in (docker.BROKERS, docker.BROKERS[1:]):
        engine = Engine(docker.TIER, docker.DEVICE, *images)
        monkeypatch.setattr(docker, "_engine", lambda engine=engine: engine)
        assert why_unplayable(backend_named("docker"), BROKER_RESTART) == []
        place, command = docker.Containers("first", ["--volume=/a:/a"]).broker()
        assert place.python == HERE.python, "there is no Python beside mosquitto"
        assert command[-2:] == ("--entrypoint=mosquitto", images[0])
        assert {"--network=container:first", "--volume=/a:/a", *docker.HARDENED} <= set(command)


# The real thing. The images have to be of this tree: compose/prepare.sh --build.


@pytest.fixture
def engine() -> None:
    if docker.why_not():
        pytest.skip(f"cannot play in containers: {docker.why_not()}")


def names() -> set[str]:
    shown = subprocess.run(
        ["docker", "ps", "--all", "--format", "{{.Names}}"], capture_output=True, text=True, check=True
    )
    return {name for name in shown.stdout.split() if name.startswith("isthmus-testbed-")}


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("engine")
def test_containers_play_a_scenario_with_faults_and_lose_no_frame(
    tmp_path: Path,
    suppliers: dict[str, Supplier],
) -> None:
    before = names()
    run = run_scenario("own", _scenario(tmp_path, REAL), backend_named("docker"), tmp_path / "run", suppliers)
    found = run.repetitions[0].figures
    assert run.holds
    assert found[ALL]["frames"] == found["camera-1"]["frames"] + found["camera-2"]["frames"]
    assert sum(row["up_bytes"] for row in run.repetitions[0].outcome.links["lte"]) > 0, "frames went over the link"
    assert names() <= before


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("engine")
def test_a_broker_in_a_container_dies_and_is_back(tmp_path: Path, suppliers: dict[str, Supplier]) -> None:
    if reason := docker.no_broker():
        pytest.skip(reason)
    run = run_scenario("own", BROKER_RESTART, backend_named("docker"), tmp_path / "run", suppliers)
    assert run.holds
    assert run.repetitions[0].figures[ALL]["by_edge"] > 0.3, "frames went through it"
    logs = [log.read_text() for log in (run.folder / "repetition-0").glob("mosquitto-*.log")]
    assert len(logs) == 2
    assert all(" running" in log for log in logs)


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("engine")
def test_containers_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from isthmus.cli.main import main; main()", "testbed", "run", "office-wifi"]
    run = subprocess.Popen(
        [*command, "--backend", "docker", "--root", str(tmp_path)], stderr=subprocess.PIPE, text=True
    )
    assert run.stderr is not None
    for line in run.stderr:
        if "playing" in line:
            break
    own = {name for name in names() if f"-{run.pid}-" in name}
    assert len(own) >= 5, "a first one, two tiers, two links, a device"
    run.send_signal(signal.SIGKILL)
    run.communicate()
    clean_machine()
    assert not own & names()
