"""What compose/prepare.sh says where the stack cannot be brought up: continuous integration goes on from there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNAVAILABLE = 69


def prepared(folder: Path, *arguments: str, **programs: str) -> subprocess.CompletedProcess[str]:
    """Run a copy of the script, with these shell scripts as programs in front of all others."""
    (folder / "compose").mkdir()
    shutil.copy(ROOT / "compose" / "prepare.sh", folder / "compose")
    made = folder / "bin"
    made.mkdir()
    for name, body in programs.items():
        (made / name).write_text(f"#!/bin/sh\n{body}\n")
        (made / name).chmod(0o755)
    environment = {"PATH": f"{made}:/usr/bin:/bin"}
    command = ["bash", str(folder / "compose" / "prepare.sh"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_an_engine_that_does_not_start_is_told_apart_from_a_mistake_of_ours(tmp_path: Path) -> None:
    done = prepared(tmp_path, docker="exit 1", dockerd="echo no cgroups here; exit 1")
    assert done.returncode == UNAVAILABLE
    assert "no cgroups here" in done.stderr
    assert "dockerd did not start" in done.stderr


def test_an_engine_that_starts_no_container_is_told_too(tmp_path: Path) -> None:
    done = prepared(tmp_path, docker='[ "$1" != run ]')
    assert done.returncode == UNAVAILABLE
    assert "cannot start a container" in done.stderr


def test_a_profile_that_there_is_not_is_a_mistake(tmp_path: Path) -> None:
    done = prepared(tmp_path, "chaso", docker="exit 0")
    assert done.returncode == 1
    assert "there are chaos, obs and postgres" in done.stderr


@pytest.mark.parametrize("script", [".ci/run", "compose/prepare.sh", "compose/postgres/start.sh"])
def test_a_shell_reads_it(script: str) -> None:
    shell = (ROOT / script).read_text(encoding="utf-8").splitlines()[0].rpartition("/")[2].split()[-1]
    assert subprocess.run([shell, "-n", str(ROOT / script)], capture_output=True, check=False).returncode == 0


def integrated(folder: Path, prepared: int, **programs: str) -> subprocess.CompletedProcess[str]:
    """Run a copy of .ci/run whole, as nobody who may install anything, where the stack's preparation ends so."""
    programs = {"id": "echo 1000", "make": 'echo "made $*"', **programs}
    scripts = {".venv/bin/python": "exit 0", "compose/prepare.sh": f"exit {prepared}"}
    for name, body in {**{f"bin/{name}": body for name, body in programs.items()}, **scripts}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    (folder / "compose" / "stack.py").touch()
    (folder / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", folder / ".ci")
    environment = {"PATH": f"{folder}/bin:/usr/bin:/bin", "ISTHMUS_CI_ALL": "1"}
    command = ["bash", str(folder / ".ci" / "run")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_continuous_integration_runs_the_stack_where_it_can(tmp_path: Path) -> None:
    done = integrated(tmp_path, 0)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line in done.stdout.splitlines() if line.startswith("made")] == [
        "made check", "made test", "made test-slow", "made test-stack"
    ]  # fmt: skip


def test_continuous_integration_goes_on_where_there_is_no_engine(tmp_path: Path) -> None:
    done = integrated(tmp_path, UNAVAILABLE)
    assert done.returncode == 0
    assert "was not brought up" in done.stdout
    assert "test-stack" not in done.stdout


def test_continuous_integration_fails_by_a_mistake_of_ours(tmp_path: Path) -> None:
    assert integrated(tmp_path, 1).returncode == 1


@pytest.mark.parametrize("target", ["check", "test", "test-slow", "test-stack"])
def test_continuous_integration_fails_with_each_of_its_parts(target: str, tmp_path: Path) -> None:
    assert integrated(tmp_path, 0, make=f'[ "$1" != {target} ] || exit 2').returncode == 2


def test_continuous_integration_gives_up_what_does_not_end_in_time_and_says_so(tmp_path: Path) -> None:
    done = integrated(tmp_path, 0, timeout='[ "$4" != make ] || exit 124')
    assert done.returncode == 0
    assert "ci: given up after 25 minutes: make test-stack" in done.stdout
