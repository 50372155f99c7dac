"""Brings the stack up and down with whichever compose there is: the v2 plugin or the older docker-compose.

    python3 compose/stack.py up [--timeout SECONDS]     # prepare, start, wait until every service is healthy
    python3 compose/stack.py up --profile chaos --profile postgres
    python3 compose/stack.py status                     # one line for each service
    python3 compose/stack.py down [--volumes] [--engine]

Needs nothing but Python; see `make stack-up`. The older docker-compose knows no `--wait`, so the wait is here.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PROJECT = "isthmus"
PROFILES = ("chaos", "obs", "postgres")
ONE_SHOT = frozenset({"certificates"})
"""Services that end by themselves, with exit code 0."""


class StackError(Exception):
    """What went wrong, and what to do."""


class Service(NamedTuple):
    """One container of the stack as the engine sees it."""

    name: str
    container: str
    state: str
    """"running", "exited", "restarting", ..."""
    health: str
    """"healthy", "unhealthy", "starting", or "" without a health check."""
    exit_code: int

    @property
    def well(self) -> bool:
        """Healthy; of a one-shot service: done."""
        if self.name in ONE_SHOT:
            return self.state == "exited" and self.exit_code == 0
        return self.state == "running" and self.health == "healthy"


def compose_command(runs: Callable[[Sequence[str]], bool] | None = None) -> list[str]:
    """The compose that this machine has, the v2 plugin first.

    Raises:
        StackError: none.
    """
    runs = runs or _runs
    for command in (["docker", "compose"], ["docker-compose"]):
        if runs([*command, "version"]):
            return command
    raise StackError("there is neither `docker compose` nor docker-compose; run compose/prepare.sh, or install one")


def environment(file: Path = ROOT / "build" / "stack.env") -> dict[str, str]:
    """This process's environment, and the images that compose/prepare.sh has found or made."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return {**dict(line.split("=", 1) for line in lines if "=" in line and line[0] != "#"), **os.environ}


def services() -> list[Service]:
    """Every container of the stack, by name.

    Raises:
        StackError: the engine does not answer.
    """
    label = f"label=com.docker.compose.project={PROJECT}"
    ids = _run(["docker", "ps", "--all", "--quiet", "--filter", label]).split()
    if not ids:
        return []
    form = (
        '{{index .Config.Labels "com.docker.compose.service"}} {{.Name}} {{.State.Status}} '
        "{{if .State.Health}}{{.State.Health.Status}}{{else}}-{{end}} {{.State.ExitCode}}"
    )
    lines = _run(["docker", "inspect", "--format", form, *ids]).splitlines()
    return sorted(_service(line) for line in lines)


def _service(line: str) -> Service:
    name, container, state, health, exit_code = line.split()
    return Service(name, container.lstrip("/"), state, health.strip("-"), int(exit_code))


def until_well(
    timeout_s: float,
    look: Callable[[], list[Service]] = services,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> float:
    """Wait until all services are well.

    Args:
        timeout_s: how long to wait.
        look: how the services are now.
        clock, sleep: seconds, and how to let them pass.

    Returns:
        How long it took, in seconds.

    Raises:
        StackError: not within the time, or a one-shot service failed; names those that are not well.
    """
    began_s = clock()
    while True:
        found = look()
        if found and all(one.well for one in found):
            return clock() - began_s
        failed = [one for one in found if one.name in ONE_SHOT and one.state == "exited" and one.exit_code]
        if failed or clock() - began_s > timeout_s:
            raise StackError(_complaint([one for one in found if not one.well], clock() - began_s))
        sleep(0.5)


def _complaint(unwell: Sequence[Service], after_s: float) -> str:
    if not unwell:
        return f"no container has started after {after_s:.0f} s; what docker compose printed says why"
    states = ", ".join(f"{one.name} is {one.state} {one.health}".rstrip() for one in unwell)
    return f"after {after_s:.0f} s {states}; look at: docker logs {unwell[0].container}"


def settings_of(profiles: Iterable[str]) -> dict[str, str]:
    """What a profile needs beside its services: the variables of `compose/NAME.env`, where there is such a file."""
    found = {"COMPOSE_PROFILES": ",".join(profiles)}
    for profile in profiles:
        file = ROOT / "compose" / f"{profile}.env"
        if file.exists():
            found |= {key: value for key, value in environment(file).items() if key.startswith("ISTHMUS_")}
    return found


def compose(*arguments: str, profiles: Iterable[str] = ()) -> str:
    """Run compose on the stack; returns what it printed.

    Raises:
        StackError: it failed, with the end of what it said.
    """
    file = str(ROOT / "compose" / "compose.yml")
    return _run([*compose_command(), "-p", PROJECT, "-f", file, *arguments], environment() | settings_of(profiles))


def up(timeout_s: float, profiles: Sequence[str] = ()) -> None:
    """Prepare, start and wait.

    Raises:
        StackError: something is missing, fails, or is not healthy in time.
    """
    subprocess.run([str(ROOT / "compose" / "prepare.sh"), *profiles], check=True, cwd=ROOT)
    compose("up", "--detach", "--no-build", profiles=profiles)
    took_s = until_well(timeout_s)
    print(f"stack: up with {' '.join(compose_command())}, all healthy after {took_s:.0f} s")


def down(*, volumes: bool, engine: bool) -> None:
    """Stop and remove the containers; the volumes with them if asked, and the engine if compose/prepare.sh started it.

    Raises:
        StackError: compose failed.
    """
    try:
        compose("down", "--remove-orphans", *(["--volumes"] if volumes else []), profiles=PROFILES)
    finally:
        if engine:
            _end_engine(ROOT / "build" / "dockerd.pid")


def _end_engine(pid_file: Path) -> None:
    if pid_file.exists():
        with suppress(ProcessLookupError):
            os.kill(int(pid_file.read_text()), signal.SIGTERM)
        pid_file.unlink()


def _runs(command: Sequence[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _run(command: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=ROOT)
    if done.returncode != 0:
        raise StackError(f"`{' '.join(command[:3])}` failed: {done.stderr.strip()[-600:]}")
    return done.stdout


def main(arguments: list[str]) -> int:
    """Run one command; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    starting = commands.add_parser("up", help="prepare, start, wait until every service is healthy")
    starting.add_argument("--timeout", type=float, default=300.0, help="seconds to wait for health")
    starting.add_argument(
        "--profile", action="append", default=[], choices=PROFILES, help="start these services too; repeatable"
    )
    commands.add_parser("status", help="one line for each service")
    stopping = commands.add_parser("down", help="stop and remove the containers")
    stopping.add_argument("--volumes", action="store_true", help="remove certificates, keys and answers too")
    stopping.add_argument("--engine", action="store_true", help="end dockerd too, if compose/prepare.sh started it")
    given = parser.parse_args(arguments)
    try:
        if given.command == "up":
            up(given.timeout, given.profile)
        elif given.command == "down":
            down(volumes=given.volumes, engine=given.engine)
        else:
            for one in services():
                print(f"{one.name:<14}{one.state:<12}{one.health}")
    except (StackError, subprocess.CalledProcessError) as exc:
        print(f"stack: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
