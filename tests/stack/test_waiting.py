"""Waiting for the stack, without a container: what counts as well, and what is said when it is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from compose import stack
from compose.stack import Service, StackError

DONE = Service("certificates", "isthmus_certificates_1", "exited", "", 0)


def edge(state: str = "running", health: str = "healthy") -> Service:
    return Service("edge", "isthmus_edge_1", state, health, 0)


class Time:
    """Seconds that pass only while something sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def wait(look: Callable[[], list[Service]], timeout_s: float = 10.0) -> float:
    time = Time()
    return stack.until_well(timeout_s, look, clock=time, sleep=time.sleep)


def test_it_waits_until_all_are_there_healthy_and_the_one_shot_has_done_its_work() -> None:
    starting = edge(health="starting")
    running = DONE._replace(state="running")
    found = iter([[], [running], [starting, running], [starting, DONE], [edge(), DONE]])
    assert wait(lambda: next(found)) == 2.0  # four looks in vain, half a second each


def test_a_service_that_stays_unhealthy_is_named_with_where_to_look() -> None:
    with pytest.raises(StackError, match="edge is running unhealthy; look at: docker logs isthmus_edge_1"):
        wait(lambda: [edge(health="unhealthy"), DONE])


def test_certificates_that_failed_end_the_wait_at_once() -> None:
    with pytest.raises(StackError, match="after 0 s certificates is exited"):
        wait(lambda: [DONE._replace(exit_code=1), edge(health="starting")])


def test_nothing_started_is_said_too() -> None:
    with pytest.raises(StackError, match="no container has started"):
        wait(list)


def test_a_line_of_the_engine_becomes_a_service() -> None:
    assert stack._service("edge /isthmus_edge_1 running healthy 0") == edge()
    assert stack._service("certificates /isthmus_certificates_1 exited - 0") == DONE


def test_the_plugin_is_preferred_and_the_older_compose_is_good_enough() -> None:
    assert stack.compose_command(lambda command: True) == ["docker", "compose"]
    assert stack.compose_command(lambda command: command[0] == "docker-compose") == ["docker-compose"]
    with pytest.raises(StackError, match=r"prepare\.sh"):
        stack.compose_command(lambda command: False)


def test_the_images_of_the_file_are_defaults_that_the_environment_overrides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "stack.env"
    file.write_text("ISTHMUS_BROKER_IMAGE=mine:1.0\nISTHMUS_TIER_IMAGE=tier:1.0\n")
    monkeypatch.setenv("ISTHMUS_TIER_IMAGE", "tier:2.0")
    monkeypatch.delenv("ISTHMUS_BROKER_IMAGE", raising=False)
    found = stack.environment(file)
    assert (found["ISTHMUS_BROKER_IMAGE"], found["ISTHMUS_TIER_IMAGE"]) == ("mine:1.0", "tier:2.0")
    assert "ISTHMUS_BROKER_IMAGE" not in stack.environment(tmp_path / "missing")


def test_a_profile_brings_its_variables_which_the_environment_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ISTHMUS_DATABASE", raising=False)
    assert stack.settings_of([]) == {"COMPOSE_PROFILES": ""}
    found = stack.settings_of(["chaos", "postgres"])
    assert found["COMPOSE_PROFILES"] == "chaos,postgres"
    assert found["ISTHMUS_DATABASE"].startswith("postgresql+psycopg://control@postgres/")
    monkeypatch.setenv("ISTHMUS_DATABASE", "postgresql+psycopg://mine/db")
    assert stack.settings_of(["postgres"])["ISTHMUS_DATABASE"] == "postgresql+psycopg://mine/db"
