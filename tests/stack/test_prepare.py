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


def test_continuous_integration_goes_on_where_there_is_no_engine_and_nowhere_else() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert f"  {UNAVAILABLE})" in script
    assert '  *) exit "$status" ;;' in script
