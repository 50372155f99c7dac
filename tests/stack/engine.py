"""The running stack: what its containers are, say and have answered."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from compose import stack

DEVICES = ("camera-1", "camera-2")
PATIENCE_S = 300.0


def engine_runs() -> bool:
    docker = shutil.which("docker")
    return docker is not None and subprocess.run([docker, "ps"], capture_output=True, check=False).returncode == 0


needs_an_engine = [
    pytest.mark.long,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        not (engine_runs() or os.environ.get("ISTHMUS_STACK")), reason="no container engine runs; try: make test-stack"
    ),
]


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout


def containers() -> dict[str, str]:
    return {one.name: one.container for one in stack.services()}


def answers(device: str) -> list[dict[str, Any]]:
    """What the sink of a device has on disk, which outlives the container's process."""
    text = docker("exec", containers()[device], "cat", "/state/answers.jsonl")
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


def history(device: str) -> list[dict[str, Any]]:
    text = docker("exec", containers()[device], "cat", "/state/history.jsonl")
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


def until(holds: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline_s, f"waited in vain: {what}"
        time.sleep(1.0)


def token() -> str:
    """A new admin's, made inside the control plane's container."""
    command = ["exec", containers()["control"], "isthmus", "control", "/etc/isthmus/control.toml", "--admin", "test"]
    return docker(*command).strip()
