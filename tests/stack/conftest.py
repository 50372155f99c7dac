"""One stack for all tests that need a running one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from compose import stack
from tests.stack.engine import PATIENCE_S

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def running() -> Iterator[None]:
    """The stack, fresh, with images of this tree; taken down with its volumes."""
    subprocess.run([str(ROOT / "compose" / "prepare.sh"), "--build"], check=True, cwd=ROOT)
    stack.down(volumes=True, engine=False)
    stack.up(PATIENCE_S)
    yield
    stack.down(volumes=True, engine=False)
